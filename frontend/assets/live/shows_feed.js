// The shows that a question finds, as far as they were asked for. Their counts are live from one channel, `shows`.
import { get } from "./api.js";
import { LiveRows } from "./live_rows.js";
import { Observable } from "./observable.js";
import { listen } from "./push.js";
import { Reading } from "./reading.js";

const PAGE = 24;

export class ShowsFeed {
  shows = new LiveRows();
  /** The question that the shows answer; null before the first answer. */
  answered = new Observable(null);
  more = new Observable(false);
  problem = new Observable(null);
  #question = null;
  #pages = 1;
  #reading = new Reading();

  /** Read, and listen from then on. Returns the way to stop. */
  open() {
    this.#reading.open();
    const stop = listen("shows", { message: this.#message, reread: this.read });
    return () => {
      stop();
      this.#reading.close();
      this.shows.settle();
    };
  }

  /** Shows of an earlier question stay until this one is answered. */
  ask(question) {
    if (question !== this.#question) this.#pages = 1;
    this.#question = question;
    this.problem.set(null);
    return this.again();
  }

  /** Read, and keep what went wrong for the page to show. */
  again = () => this.read().catch(() => undefined);

  readMore = () => {
    this.#pages += 1;
    return this.again();
  };

  read = async () => {
    const question = this.#question;
    if (question === null) return;
    try {
      const found = await this.#reading.latest((signal) => this.#find(question, signal));
      if (!found) return;
      this.shows.replace(found.shows);
      this.more.set(found.more);
      this.answered.set(question);
      this.problem.set(null);
    } catch (fault) {
      this.problem.set(fault);
      throw fault;
    }
  };

  async #find(question, signal) {
    const shows = [];
    let cursor = "";
    for (let page = 0; page < this.#pages && cursor !== null; page += 1) {
      const after = cursor && `&cursor=${encodeURIComponent(cursor)}`;
      const answer = await get(`/api/shows?${question}&limit=${PAGE}${after}`, { signal });
      shows.push(...answer.items);
      cursor = answer.next_cursor;
    }
    return { shows, more: cursor !== null };
  }

  #message = (_event, data) => {
    if (data?.show) this.shows.applyKnown(data.show);
  };
}
