// @ts-check
// Keeps the shop's pages, scripts and styles, so that a click or a reload without a server shows
// the page. backend/service_worker.py writes BUILD above this source, so each build is another
// worker.
//
// A page comes from the server; the kept one is used when no reply comes in time, or when the reply
// is that of a proxy without a server. A script or style is named by its content, so the kept one
// is used at once. No reply of the API is kept or read: its requests pass this worker.

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const PREFIX = "shell-";
const SHELL = PREFIX + BUILD.version;
const PAGE_TIMEOUT_MS = 3000;
// A browser has six connections to a server without HTTP/2, and the page needs some of them.
const FILES_AT_ONCE = 3;
const NO_SERVER = new Set([502, 503, 504]);

worker.addEventListener("install", (event) => {
  // Requests of the API then do not wait for this worker to start, in browsers that know routes.
  event.addRoutes?.({
    condition: { urlPattern: "/api/*", requestMode: "cors" },
    source: "network",
  });
  event.waitUntil(install().then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(removeOldShells().then(() => worker.clients.claim()));
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== worker.location.origin) return;
  if (request.mode === "navigate") {
    // A frame shows a bank's page, which no other page can replace.
    if (request.destination === "document") event.respondWith(page(request, pathname));
  } else if (KEPT.has(pathname) || pathname.startsWith("/assets/")) {
    event.respondWith(asset(request, pathname));
  }
});

const KEPT = new Set(BUILD.files.map(([url]) => url));

/** Keep all files, or none. A file that the server has replaced meanwhile fails its digest. */
async function install() {
  const shell = await caches.open(SHELL);
  const left = [...BUILD.files];
  const keepNext = async () => {
    for (let file = left.pop(); file; file = left.pop()) await keep(shell, ...file);
  };
  try {
    await Promise.all(Array.from({ length: FILES_AT_ONCE }, keepNext));
  } catch (error) {
    await caches.delete(SHELL);
    throw error;
  }
}

/**
 * @param {Cache} shell
 * @param {string} url
 * @param {string} integrity
 */
async function keep(shell, url, integrity) {
  // The file of an earlier build with this name has the same content.
  const known = url.startsWith("/assets/") ? await caches.match(url) : undefined;
  const reply = known ?? (await fetch(url, { integrity, credentials: "omit" }));
  if (!reply.ok) throw new Error(`${url}: ${reply.status}`);
  await shell.put(url, reply);
}

/** The build before this one stays, for tabs that run it. */
async function removeOldShells() {
  const others = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== SHELL);
  await Promise.all(others.slice(0, -1).map((name) => caches.delete(name)));
}

/**
 * @param {Request} request
 * @param {string} pathname
 */
async function asset(request, pathname) {
  return (await caches.match(pathname)) ?? fetch(request);
}

/**
 * @param {Request} request
 * @param {string} pathname
 */
async function page(request, pathname) {
  const reply = await Promise.race([fetch(request).catch(() => null), noReplyInTime()]);
  const page = pageOf(pathname);
  if (reply && !(page && NO_SERVER.has(reply.status))) return reply;
  const shell = await caches.open(SHELL);
  return (await shell.match(page ?? BUILD.missing)) ?? reply ?? Response.error();
}

/** @returns {Promise<null>} */
function noReplyInTime() {
  return new Promise((resolve) => {
    setTimeout(() => {
      resolve(null);
    }, PAGE_TIMEOUT_MS);
  });
}

/**
 * The address under which the page of this path is kept; null for a path of no page.
 * @param {string} pathname
 */
function pageOf(pathname) {
  const plain = pathname.replace(/\/+$/, "") || "/";
  if (KEPT.has(plain)) return plain;
  return BUILD.dynamic.some((pattern) => new RegExp(`^${pattern}$`).test(plain))
    ? BUILD.fallback
    : null;
}
