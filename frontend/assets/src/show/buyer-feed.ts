// The tickets of a show as its page reads them (decision 37). Of a small show: all. Of a large one:
// the counts of its sections, the cheapest open tickets, and the tickets of the sections that the
// visitor opens. Messages of other tickets change no row; they make the counts be read again.
import { get } from "../shared/api";
import type { Section, SectionPage, Ticket } from "../shared/api-types";
import { learnTimeFromHold } from "../shared/clock";
import { MAX_PAGE_SIZE, ShowFeed } from "../shared/show-feed";
import { Observable } from "../shared/observable";
import { availabilityOf } from "../shared/tickets";

/** Enough for most shows, so that one request has all tickets. */
const FIRST_PAGE = 250;
/** A show with more tickets is large. */
export const MAX_WHOLE = 1000;
const MAX_SECTION_PAGES = 10;
/** The most sections that are kept open, and pages of each that a new read reads again. */
const MAX_OPEN = 10;
const MAX_READ_AGAIN = 4;
/** The most tickets that are read by themselves. */
const MAX_SINGLE = 20;
/** The counts of sections are read again at most once in this time, and a random one of as much. */
export const COUNTS_MS = 10_000;

/** The tickets that the page has of a section that the visitor opened. */
export interface OpenSection {
  /** How many pages were read. */
  pages: number;
  /** The cursor of the next page; null after the last. */
  next: string | null;
  reading: boolean;
}

export interface Parts {
  /** Whether the rows are all tickets of the show. */
  whole: boolean;
  /** The sections of a large show, by name. */
  sections: readonly Section[];
  /** Whether the show has more sections than were read. */
  moreSections: boolean;
  open: ReadonlyMap<string, OpenSection>;
}

const NOTHING: Parts = { whole: true, sections: [], moreSections: false, open: new Map() };

interface Read {
  tickets: Ticket[];
  parts: Parts;
}

export class BuyerFeed extends ShowFeed {
  readonly parts = new Observable<Parts>(NOTHING);
  /** The tickets that the page has seen before they were sold. */
  readonly seenOpen = new Set<string>();
  /** The tickets that each read reads, wherever they are. */
  #single: readonly string[] = [];
  readonly #around = new Set<string>();
  #countsTimer: ReturnType<typeof setTimeout> | null = null;
  #signal = new AbortController().signal;

  override open(): () => void {
    const controller = new AbortController();
    this.#signal = controller.signal;
    const close = super.open();
    return () => {
      controller.abort();
      if (this.#countsTimer !== null) clearTimeout(this.#countsTimer);
      this.#countsTimer = null;
      close();
    };
  }

  read = (): Promise<void> => {
    const before = this.tickets.snapshot();
    const opened = [...this.parts.value.open];
    const sentAt = performance.now();
    return this.load(
      async (signal) => {
        const [first, show] = await Promise.all([
          this.#page({ sort: "oldest", limit: FIRST_PAGE }, signal),
          get("/api/shows/{id}", { params: { id: this.id }, signal }),
        ]);
        return { show, ...(await this.#readTickets(show, first, opened, signal)) };
      },
      ({ show, tickets, parts }) => {
        learnTimeFromHold(tickets, sentAt);
        this.show.set(show);
        this.#around.clear();
        const later = [...this.parts.value.open.keys()].filter((name) => !parts.open.has(name));
        this.parts.set(parts);
        this.tickets.replace(tickets, before);
        this.#see(tickets);
        // These were opened during the read.
        if (!parts.whole) for (const name of later) void this.openSection(name);
      },
    );
  };

  /** Read the tickets of a section, or close the one that was opened first if too many are. */
  openSection(name: string): Promise<void> {
    const open = new Map(this.parts.value.open);
    open.delete(name);
    open.set(name, { pages: 0, next: null, reading: true });
    for (const oldest of open.keys()) {
      if (open.size <= MAX_OPEN) break;
      open.delete(oldest);
    }
    this.parts.set({ ...this.parts.value, open });
    return this.#readSection(name, null);
  }

  closeSection(name: string): void {
    const open = new Map(this.parts.value.open);
    open.delete(name);
    this.parts.set({ ...this.parts.value, open });
  }

  /** Read the next page of an open section. */
  readMore(name: string): void {
    const section = this.parts.value.open.get(name);
    if (!section || section.reading || section.next === null) return;
    this.#setOpen(name, { ...section, reading: true });
    void this.#readSection(name, section.next);
  }

  /** Read the first tickets of a section that is not open, once until the next read. */
  async readAround(name: string): Promise<void> {
    if (this.parts.value.whole || this.parts.value.open.has(name) || this.#around.has(name)) return;
    this.#around.add(name);
    const read = this.#sectionPage(name, null, this.#signal);
    await read.then(
      ({ items }) => {
        this.#merge(items);
      },
      () => undefined,
    );
  }

  /** Read these tickets wherever they are, now and in each later read. */
  include(ids: readonly string[]): void {
    const unknown = ids.filter((id) => !this.tickets.row(id)).slice(0, MAX_SINGLE);
    this.#single = ids.slice(0, MAX_SINGLE);
    if (unknown.length === 0) return;
    void this.#readSingle(unknown, this.#signal).then(this.#merge, () => undefined);
  }

  protected override onTicket(ticket: Ticket): boolean {
    if (!this.#isWanted(ticket)) {
      this.#readCountsLater();
      return false;
    }
    if (!this.parts.value.whole) this.#readCountsLater();
    this.#see([ticket]);
    return this.tickets.apply(ticket) !== undefined;
  }

  /** Whether the ticket belongs to a part that was read. */
  #isWanted(ticket: Ticket): boolean {
    const { whole, open } = this.parts.value;
    if (whole || this.tickets.row(ticket.id) || open.has(ticket.section ?? "")) return true;
    if (availabilityOf(ticket) !== "free") return false;
    const { rows } = this.tickets.value;
    return rows.some(({ currency, price }) => {
      return currency === ticket.currency && price >= ticket.price;
    });
  }

  async #readTickets(
    show: { available: number; held: number; sold: number },
    first: { items: Ticket[]; next_cursor: string | null },
    opened: readonly [string, OpenSection][],
    signal: AbortSignal,
  ): Promise<Read> {
    const count = show.available + show.held + show.sold;
    if (first.next_cursor === null || count <= MAX_WHOLE) {
      const tickets = [...first.items];
      for (let cursor = first.next_cursor; cursor !== null;) {
        const page = await this.#page({ sort: "oldest", cursor }, signal);
        tickets.push(...page.items);
        cursor = page.next_cursor;
      }
      return { tickets, parts: NOTHING };
    }
    return this.#readParts(opened, signal);
  }

  async #readParts(opened: readonly [string, OpenSection][], signal: AbortSignal): Promise<Read> {
    const [sections, cheapest, single, ...ofSections] = await Promise.all([
      this.#sections(signal),
      this.#page({ sort: "price", open: true }, signal),
      this.#readSingle(this.#single, signal),
      ...opened.map(([name, { pages }]) => this.#sectionPages(name, pages, signal)),
    ]);
    const open = new Map(ofSections.map((section) => [section.name, section.open]));
    const rows = [cheapest.items, single, ...ofSections.map(({ items }) => items)].flat();
    return {
      // A ticket may be in two parts, of which one was read later.
      tickets: [...Map.groupBy(rows, ({ id }) => id).values()].map((same) =>
        same.reduce((one, other) => (other.version > one.version ? other : one)),
      ),
      parts: { whole: false, ...sections, open },
    };
  }

  async #sections(signal: AbortSignal): Promise<Pick<Parts, "sections" | "moreSections">> {
    const sections: Section[] = [];
    let cursor: string | null = null;
    for (let page = 0; page < MAX_SECTION_PAGES; page += 1) {
      const options = { params: { id: this.id }, query: { cursor }, signal };
      const reply: SectionPage = await get("/api/shows/{id}/sections", options);
      sections.push(...reply.items);
      cursor = reply.next_cursor;
      if (cursor === null) break;
    }
    return { sections, moreSections: cursor !== null };
  }

  async #sectionPages(name: string, pages: number, signal: AbortSignal) {
    const items: Ticket[] = [];
    const open: OpenSection = { pages: 0, next: null, reading: false };
    do {
      const page = await this.#sectionPage(name, open.next, signal);
      items.push(...page.items);
      open.pages += 1;
      open.next = page.next_cursor;
    } while (open.next !== null && open.pages < Math.min(pages, MAX_READ_AGAIN));
    return { name, items, open };
  }

  async #readSection(name: string, cursor: string | null): Promise<void> {
    const signal = this.#signal;
    try {
      const { items, next_cursor: next } = await this.#sectionPage(name, cursor, signal);
      this.#merge(items);
      const pages = (this.parts.value.open.get(name)?.pages ?? 0) + 1;
      this.#setOpen(name, { pages, next, reading: false });
    } catch {
      // The visitor can open it again; without a connection, the page shows that by itself.
      if (!signal.aborted) this.closeSection(name);
    }
  }

  #setOpen(name: string, section: OpenSection): void {
    const { open } = this.parts.value;
    if (!open.has(name)) return;
    this.parts.set({ ...this.parts.value, open: new Map(open).set(name, section) });
  }

  #sectionPage(section: string, cursor: string | null, signal: AbortSignal) {
    return this.#page({ section, sort: "open_first", cursor }, signal);
  }

  #page(query: Record<string, string | number | boolean | null>, signal: AbortSignal) {
    const full = { show_id: this.id, limit: MAX_PAGE_SIZE, ...query };
    return get("/api/tickets", { query: full, signal });
  }

  /** Tickets that exist no longer are left out. */
  async #readSingle(ids: readonly string[], signal: AbortSignal): Promise<Ticket[]> {
    const options = ids.map((id) => ({ params: { id }, signal }));
    const read = await Promise.allSettled(options.map((each) => get("/api/tickets/{id}", each)));
    return read.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  }

  #merge = (tickets: readonly Ticket[]): void => {
    this.#see(tickets);
    this.tickets.merge(tickets);
  };

  #see(tickets: readonly Ticket[]): void {
    for (const ticket of tickets) {
      if (availabilityOf(ticket) !== "sold") this.seenOpen.add(ticket.id);
    }
  }

  #readCountsLater(): void {
    if (this.#countsTimer !== null) return;
    this.#countsTimer = setTimeout(
      () => {
        void this.#readCounts(this.#signal).catch(() => undefined);
      },
      COUNTS_MS * (1 + Math.random()),
    );
  }

  async #readCounts(signal: AbortSignal): Promise<void> {
    try {
      const [show, sections] = await Promise.all([
        get("/api/shows/{id}", { params: { id: this.id }, signal }),
        this.#sections(signal),
      ]);
      if (signal.aborted || this.parts.value.whole) return;
      this.show.set(show);
      this.parts.set({ ...this.parts.value, ...sections });
    } finally {
      this.#countsTimer = null;
    }
  }
}
