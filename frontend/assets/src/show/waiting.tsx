import { text } from "../shared/texts";

/** The frame of a show's page until its data is read, in the sizes that the page will have. */
export function Waiting() {
  return (
    <div aria-busy="true">
      <span className="unseen" role="status">
        {text("show.loading")}
      </span>
      <div className="show-head">
        <div>
          <div className="skeleton" style={{ width: "min(20rem, 80%)", height: 22 }} />
          <div
            className="skeleton"
            style={{ width: "min(24rem, 95%)", height: 39, marginBlock: "0.4rem 0.75rem" }}
          />
          <div
            className="skeleton"
            style={{ width: "min(26rem, 100%)", height: 30, borderRadius: 15 }}
          />
        </div>
      </div>
      <div className="show-body">
        <div>
          <div className="card chooser skeleton chooser-waiting" />
          <div
            className="skeleton"
            style={{ width: 120, height: 44, borderRadius: 22, marginBottom: "1.25rem" }}
          />
          <div className="skeleton" style={{ width: 110, height: 20, marginBottom: 12 }} />
          <ul className="card tickets">
            {Array.from({ length: 9 }, (_, index) => (
              <li className="ticket" key={index}>
                <div className="ticket-line">
                  <span className="skeleton" style={{ width: 22, height: 22 }} />
                  <span className="skeleton" style={{ width: "45%", height: 16 }} />
                  <span />
                  <span className="skeleton" style={{ height: 16 }} />
                </div>
              </li>
            ))}
          </ul>
        </div>
        <div className="card pick empty" style={{ height: 150 }} />
      </div>
    </div>
  );
}
