/** The page's side of working offline. */

const PATIENCE_MS = 20_000; // installing loads what the page needs anyway, so on slow machines waiting loses little

/** Wait until the service worker serves this page, so that it keeps all that is loaded from now on. */
export async function servedOffline(): Promise<void> {
  const workers = navigator.serviceWorker;
  if (!workers || import.meta.env.DEV) return;
  const late = new Promise((done) => setTimeout(done, PATIENCE_MS));
  try {
    await workers.register("./sw.js");
  } catch (error) {
    console.warn("The page will not work offline:", error);
    return;
  }
  if (workers.controller) return;
  await Promise.race([new Promise((done) => workers.addEventListener("controllerchange", done, { once: true })), late]);
}
