// Making a show, and changing one.
import { useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";

import { Field } from "./account.jsx";
import { getTagged, post, put } from "./api.js";
import { readersTime, showTime } from "./format.js";
import { FormProblem, keyFor, refuse, useForm } from "./forms.jsx";
import { Failed } from "./states.jsx";
import { toast } from "./toasts.jsx";
import { hereZone, instantOf, wallTime, zonesWith } from "./zones.js";

const FIELDS = ["title", "venue", "city", "starts_at", "timezone", "category"];
const CATEGORIES = ["concert", "theatre", "comedy", "classical", "dance", "sport", "festival", "other"];

export function NewShow({ seller }) {
  const navigate = useNavigate();
  const name = `${seller.id}:show:new`;
  const blank = { title: "", venue: "", city: "", starts_at: "", timezone: hereZone(), category: "concert" };
  const form = useForm(name, blank, async (values) => {
    const show = await post("/api/shows", showOf(values), { key: keyFor(name, values) });
    form.reset();
    navigate(`/sell?show=${show.id}`, { replace: true });
  });
  return (
    <div className="form-page">
      <p>
        <Link className="soft" to="/sell">
          Sell tickets
        </Link>
      </p>
      <h1 className="title">Add a show</h1>
      <ShowForm form={form} button="Add the show" />
    </div>
  );
}

/** Changes a show of the seller's own. It is read anew, with the tag that keeps two tabs from overwriting each other. */
export function ChangeShow({ id, seller, sold, done }) {
  const [show, setShow] = useState(null);
  const [problem, setProblem] = useState(null);
  const read = () => getTagged(`/api/shows/${id}`).then(setShow, setProblem);
  useEffect(() => void read(), [id]);
  if (show) return <ChangeForm show={show} seller={seller} sold={sold} done={done} again={read} />;
  return problem ? <Failed problem={problem} again={read} /> : <div className="card form" aria-busy="true" style={{ minHeight: "28rem" }} />;
}

function ChangeForm({ show, seller, sold, done, again }) {
  const blank = { ...show, starts_at: wallTime(show.starts_at, show.timezone) };
  const form = useForm(`${seller.id}:show:${show.id}`, blank, async (values, changes) => {
    const wanted = showOf(values);
    // A time of day is nothing without its zone: who changes one has seen the other.
    const moved = "starts_at" in changes || "timezone" in changes;
    const named = FIELDS.filter((field) => field in changes || (moved && field === "starts_at"));
    try {
      await put(`/api/shows/${show.id}`, Object.fromEntries(named.map((field) => [field, wanted[field]])), { tag: show.tag });
    } catch (fault) {
      if (fault.code === "version_mismatch") again();
      throw fault;
    }
    form.reset();
    toast("The show is changed.");
    done();
  });
  return (
    <ShowForm form={form} button="Save" close={() => (form.reset(), done())}>
      {sold > 0 && <p className="note">{sold === 1 ? "Somebody has" : `${sold} people have`} bought a ticket for the show as it is now.</p>}
    </ShowForm>
  );
}

function ShowForm({ form, button, close, children }) {
  const { values, field, busy, problem } = form;
  const instant = instantOf(values.starts_at, values.timezone);
  const show = instant && { starts_at: instant, timezone: values.timezone };
  return (
    <form className="card form" {...form.form}>
      <FormProblem problem={problem} fields={FIELDS} />
      {children}
      <Field {...field("title")} label="Title" maxLength={120} autoComplete="off" />
      <div className="fields">
        <Field {...field("venue")} label="Venue" maxLength={120} autoComplete="off" />
        <Field {...field("city")} label="City" maxLength={60} autoComplete="off" />
      </div>
      <div className="fields">
        <Field
          {...field("starts_at")}
          type="datetime-local"
          max="9998-12-31T23:59"
          label="Starts, by the clocks there"
          hint={show ? [showTime(show), readersTime(show)].filter(Boolean).join(" · ") : "As the ticket says it"}
        />
        <Field {...field("timezone")} as="select" label="Time zone of the venue">
          {zonesWith(values.timezone).map((zone) => (
            <option key={zone}>{zone}</option>
          ))}
        </Field>
      </div>
      <Field {...field("category")} as="select" label="Kind">
        {[...new Set([...CATEGORIES, values.category])].map((category) => (
          <option key={category} value={category}>
            {category.charAt(0).toUpperCase() + category.slice(1)}
          </option>
        ))}
      </Field>
      <div className="form-actions">
        <button className="button primary" disabled={busy}>
          {busy ? "One moment" : button}
        </button>
        {close && (
          <button type="button" className="button quiet" onClick={close}>
            Leave it as it is
          </button>
        )}
      </div>
    </form>
  );
}

/** The API's show. Refuses a time that is none. */
function showOf(values) {
  const starts_at = instantOf(values.starts_at, values.timezone);
  if (!starts_at) refuse({ starts_at: values.starts_at ? "clocks are put forward there then: there is no such time" : "choose a day and a time" });
  return { ...Object.fromEntries(FIELDS.map((field) => [field, values[field]])), starts_at };
}
