// The page that a visitor returns to after signing in.

/** Stands for this site's origin, which the result does not depend on. */
const THIS_SITE = "https://this.site.invalid";

/**
 * The path in `next` of a query string, or `/` if it is one of another site. The browser's own
 * parser decides: it ignores tabs and reads a backslash as a slash, so `/<tab>/a.example` and
 * `/\a.example` are other sites.
 */
export function nextPage(search: string): string {
  const next = new URLSearchParams(search).get("next") ?? "/";
  if (!next.startsWith("/") || !URL.canParse(next, THIS_SITE)) return "/";
  const url = new URL(next, THIS_SITE);
  const path = url.pathname + url.search + url.hash;
  // Without its dots, the path of `/.//a.example` is another site.
  return url.origin === THIS_SITE && !path.startsWith("//") ? path : "/";
}
