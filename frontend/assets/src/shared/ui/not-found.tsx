// For an address that no page has. The service worker shows it as well when a page that it does not
// keep cannot be loaded.
import { useEffect } from "react";
import { Link } from "react-router";

import { useOutage } from "../outage";
import { onceReached } from "../reach";
import { text } from "../texts";
import { OUTAGE_TITLES } from "./page-states";

export function NotFound() {
  const outage = useOutage();
  useEffect(() => {
    if (!outage) return undefined;
    return onceReached(() => {
      location.reload();
    });
  }, [outage]);
  return (
    <>
      <h1 className="title">{text(outage ? OUTAGE_TITLES[outage] : "shared.nothing_here")}</h1>
      <p className="soft">{text(outage ? "shared.not_kept" : "shared.nothing_here_note")}</p>
      <Link className="button" to="/">
        {text("shared.see_shows")}
      </Link>
    </>
  );
}
