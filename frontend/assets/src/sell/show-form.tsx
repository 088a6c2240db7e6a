// Adding a show, and changing one.
import { type ReactNode, useCallback, useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";

import { getWithTag, post, put } from "../shared/api";
import type { NewShow as NewShowBody, Show, User } from "../shared/api-types";
import {
  type FieldMessages,
  type Form,
  FormProblem,
  keyFor,
  rejectFields,
  useForm,
} from "../shared/form";
import { capitalized, localTime, readersTime, showTime } from "../shared/format";
import { asProblem, type Problem } from "../shared/http";
import { text, type TextId } from "../shared/texts";
import { instantOf, isKnownZone, readersZone, wallTimeIn, zonesWith } from "../shared/time-zones";
import { InputField, SelectField } from "../shared/ui/field";
import { Failed } from "../shared/ui/page-states";
import { toast } from "../shared/ui/toasts";

const FIELDS = [
  "title",
  "venue",
  "city",
  "starts_at",
  "timezone",
  "category",
  "listing_policy",
  "ends_at",
  "sales_end_at",
] as const;
const TIMES = ["starts_at", "ends_at", "sales_end_at"] as const;
const CATEGORIES = [
  "concert",
  "theatre",
  "comedy",
  "classical",
  "dance",
  "sport",
  "club",
  "family",
  "festival",
  "other",
];

type Field = (typeof FIELDS)[number];
/** The times are those at the venue, as the inputs have them; an empty one is not set. */
type ShowValues = Record<Field, string>;

export function NewShow({ seller }: { seller: User }) {
  const navigate = useNavigate();
  const name = `${seller.id}:show:new`;
  const form = useForm<ShowValues>(name, blank(), async (values, { reset }) => {
    const options = { idempotencyKey: keyFor(name, values) };
    const show = await post("/api/shows", showOf(values), options);
    reset();
    await navigate(`/sell?show=${show.id}`, { replace: true });
  });
  return (
    <div className="form-page">
      <p>
        <Link className="soft" to="/sell">
          {text("sell.title")}
        </Link>
      </p>
      <h1 className="title">{text("sell.add_show")}</h1>
      <ShowForm form={form} button={text("sell.add_the_show")} />
    </div>
  );
}

function blank(): ShowValues {
  const texts = { title: "", venue: "", city: "", starts_at: "", ends_at: "", sales_end_at: "" };
  return { ...texts, timezone: readersZone(), category: "concert", listing_policy: "open" };
}

interface TaggedShow {
  show: Show;
  tag: string;
}

interface ChangeShowProps {
  id: string;
  seller: User;
  sold: number;
  onDone: () => void;
}

/** Changes a show of the seller's own. It is read with its ETag, so that two tabs do not overwrite
 * each other's changes. */
export function ChangeShow({ id, seller, sold, onDone }: ChangeShowProps) {
  const [tagged, setTagged] = useState<TaggedShow | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const read = useCallback(
    () =>
      getWithTag("/api/shows/{id}", { params: { id } }).then(
        ({ body, tag }) => {
          setTagged({ show: body, tag });
        },
        (error: unknown) => {
          setProblem(asProblem(error));
        },
      ),
    [id],
  );
  useEffect(() => void read(), [read]);
  if (tagged) {
    return (
      <ChangeForm tagged={tagged} seller={seller} sold={sold} onDone={onDone} readAgain={read} />
    );
  }
  if (problem) return <Failed problem={problem} retry={() => void read()} />;
  return <div className="card form" aria-busy="true" style={{ minHeight: "28rem" }} />;
}

interface ChangeFormProps extends Omit<ChangeShowProps, "id"> {
  tagged: TaggedShow;
  readAgain: () => Promise<void>;
}

function ChangeForm({ tagged, seller, sold, onDone, readAgain }: ChangeFormProps) {
  const { show, tag } = tagged;
  const name = `${seller.id}:show:${show.id}`;
  const form = useForm<ShowValues>(name, valuesOf(show), async (values, { changes, reset }) => {
    const body = changesOf(values, changes);
    try {
      await put("/api/shows/{id}", body, { params: { id: show.id }, tag });
    } catch (error) {
      if (asProblem(error).code === "version_mismatch") await readAgain();
      throw error;
    }
    reset();
    toast(text("sell.show_changed"));
    onDone();
  });
  const onClose = () => {
    form.reset();
    onDone();
  };
  return (
    <ShowForm form={form} button={text("sell.save")} onClose={onClose}>
      {sold > 0 && <p className="note">{text("sell.sold_as_it_is", { sold })}</p>}
    </ShowForm>
  );
}

function valuesOf(show: Show): ShowValues {
  const { title, venue, city, timezone, category, listing_policy } = show;
  const at = (time: string | null) => {
    if (!time) return "";
    return isKnownZone(timezone) ? wallTimeIn(timezone, time) : localTime(time, show).slice(0, 16);
  };
  const times = {
    starts_at: at(show.starts_at),
    ends_at: at(show.ends_at),
    sales_end_at: at(show.sales_end_at === show.starts_at ? null : show.sales_end_at),
  };
  return { title, venue, city, timezone, category, listing_policy, ...times };
}

/** The body of the change: the fields that were typed, and the times when their zone was. */
function changesOf(values: ShowValues, changes: Partial<ShowValues>): Partial<NewShowBody> {
  const moved = new Set<string>("timezone" in changes ? TIMES : []);
  const changed = FIELDS.filter((field) => field in changes || moved.has(field));
  const body = showOf(values, changed);
  return Object.fromEntries(changed.map((field) => [field, body[field]]));
}

interface ShowFormProps {
  form: Form<ShowValues>;
  button: string;
  onClose?: () => void;
  children?: ReactNode;
}

function ShowForm({ form, button, onClose, children }: ShowFormProps) {
  const { values, field, busy, problem } = form;
  return (
    <form className="card form" {...form.form}>
      <FormProblem problem={problem} fields={FIELDS} />
      {children}
      <InputField
        {...field("title")}
        label={text("sell.show_title")}
        maxLength={120}
        autoComplete="off"
      />
      <div className="fields">
        <InputField
          {...field("venue")}
          label={text("sell.venue")}
          maxLength={120}
          autoComplete="off"
        />
        <InputField
          {...field("city")}
          label={text("sell.city")}
          maxLength={60}
          autoComplete="off"
        />
      </div>
      <div className="fields">
        <InputField
          {...field("starts_at")}
          type="datetime-local"
          max="9998-12-31T23:59"
          label={text("sell.starts_at")}
          hint={timeHint(values)}
        />
        <SelectField {...field("timezone")} label={text("sell.timezone")}>
          {zonesWith(values.timezone).map((zone) => (
            <option key={zone}>{zone}</option>
          ))}
        </SelectField>
      </div>
      <div className="fields">
        <InputField
          {...field("ends_at")}
          type="datetime-local"
          max="9998-12-31T23:59"
          label={text("sell.ends_at")}
          hint={text("sell.ends_at_hint")}
        />
        <InputField
          {...field("sales_end_at")}
          type="datetime-local"
          max="9998-12-31T23:59"
          label={text("sell.sales_end_at")}
          hint={text("sell.sales_end_at_hint")}
        />
      </div>
      <SelectField {...field("category")} label={text("sell.category")}>
        {[...new Set([...CATEGORIES, values.category])].map((category) => (
          <option key={category} value={category}>
            {capitalized(category)}
          </option>
        ))}
      </SelectField>
      <SelectField {...field("listing_policy")} label={text("sell.listing_policy")}>
        <option value="open">{text("sell.policy_open")}</option>
        <option value="owner">{text("sell.policy_owner")}</option>
      </SelectField>
      <div className="form-actions">
        <button className="button primary" disabled={busy}>
          {busy ? text("shared.one_moment") : button}
        </button>
        {onClose && (
          <button type="button" className="button quiet" onClick={onClose}>
            {text("sell.leave")}
          </button>
        )}
      </div>
    </form>
  );
}

function timeHint({ starts_at, timezone }: ShowValues): string {
  const instant = isKnownZone(timezone) && instantOf(starts_at, timezone);
  if (!instant) return text("sell.starts_at_hint");
  const show = { starts_at: instant, timezone };
  return [showTime(show), readersTime(show)].filter(Boolean).join(" · ");
}

const MISSING = {
  title: "sell.title_missing",
  venue: "sell.venue_missing",
  city: "sell.city_missing",
  starts_at: "sell.starts_at_missing",
} as const satisfies Partial<Record<Field, TextId>>;

/**
 * The body of the request. Rejects all fields that are empty, and those of the fields `sent` whose
 * time does not exist at the venue, at once: the API names the first only.
 */
function showOf(values: ShowValues, sent: readonly Field[] = FIELDS): NewShowBody {
  const { title, venue, city, timezone, category } = values;
  const known = isKnownZone(timezone);
  const at = (field: (typeof TIMES)[number]) =>
    (known && instantOf(values[field], timezone)) || null;
  const [starts_at, ends_at, sales_end_at] = [at("starts_at"), at("ends_at"), at("sales_end_at")];
  const missing = Object.entries(MISSING).filter(
    ([field]) => !values[field as keyof typeof MISSING].trim(),
  );
  const messages: FieldMessages = Object.fromEntries(
    missing.map(([field, message]) => [field, text(message)]),
  );
  for (const field of TIMES) {
    if (values[field] && !at(field) && sent.includes(field)) {
      messages[field] = text(known ? "sell.time_skipped" : "sell.zone_unknown");
    }
  }
  rejectFields(messages);
  const listing_policy = values.listing_policy === "owner" ? "owner" : "open";
  const times = { starts_at: starts_at ?? "", ends_at, sales_end_at };
  return { title, venue, city, timezone, category, listing_policy, ...times };
}
