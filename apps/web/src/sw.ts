/** The service worker: keeps the page, so that it works offline after the first visit. */
export {};
declare const self: ServiceWorkerGlobalScope;
declare const __SHELL__: string[];
declare const __BUILD__: string;

const CACHE = "bncagan";
const BUILD = __BUILD__;
const SHELL = __SHELL__;
// Threads need isolation from other origins; some hosts cannot send these headers themselves
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const NEWEST_FIRST = /\/$|\.html$|\/models\.json$/;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll(["./", ...SHELL].map((name) => new Request(name, { cache: "reload" })));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      const wanted = new Set(["./", ...SHELL].map((name) => new URL(name, self.registration.scope).href));
      for (const { url } of await cache.keys()) {
        if (url.includes("/assets/") && !url.includes("ort-wasm") && !wanted.has(url)) await cache.delete(url);
      }
      await self.clients.claim();
      console.info(`Build ${BUILD} works offline.`);
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const own = new URL(request.url).origin === self.location.origin;
  if (request.method === "GET" && own) event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  if (!NEWEST_FIRST.test(new URL(request.url).pathname)) {
    const kept = await cache.match(request);
    return isolated(kept ?? (await fetchedInto(cache, request)));
  }
  try {
    return isolated(await fetchedInto(cache, request));
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
    if (!kept) throw error;
    return isolated(kept);
  }
}

/** Fetch, and keep what arrived in place of an earlier version of the same file. */
async function fetchedInto(cache: Cache, request: Request): Promise<Response> {
  const response = await fetch(request);
  if (response.status === 200) {
    await cache.delete(request, { ignoreSearch: true });
    await cache.put(request, response.clone());
  }
  return response;
}

function isolated(response: Response): Response {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value);
  headers.delete("Content-Encoding"); // the body is no longer encoded
  headers.delete("Content-Length");
  const { status, statusText } = response;
  return new Response(status === 304 || status === 204 ? null : response.body, { status, statusText, headers });
}
