/** Written above the worker by backend/service_worker.py. */
declare const BUILD: {
  version: string;
  /** Addresses and digests, as of the `integrity` of a request. */
  files: [url: string, integrity: string][];
  /** Patterns of the paths that share the page at `fallback`. */
  dynamic: string[];
  fallback: string;
  /** The address of the page for a path that no page has. */
  missing: string;
};

interface ExtendableEvent {
  /** Of the event "install", in browsers with static routes. */
  addRoutes?: (rule: object) => void;
}
