// The worker that shows the pages when the server does not answer: frontend/worker.

/**
 * Install the worker when the page is loaded, so that the page's own requests come first. Not in a
 * browser that saves data: the worker loads the pages that the visitor did not open, too.
 */
export function installServiceWorker(): void {
  // Missing where the shop is served without TLS, and where the browser keeps nothing.
  const { serviceWorker } = navigator as { serviceWorker?: ServiceWorkerContainer };
  if (!serviceWorker || savesData()) return;
  const install = () => {
    serviceWorker.register("/service-worker.js").catch(() => undefined);
  };
  if (document.readyState === "complete") install();
  else addEventListener("load", install, { once: true });
}

function savesData(): boolean {
  const { connection } = navigator as { connection?: { saveData?: boolean } };
  return connection?.saveData ?? false;
}
