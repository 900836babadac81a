import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** Tell the service worker the files of this build: what it keeps at once, and a name for the build. */
function offline(): Plugin {
  return {
    name: "offline",
    apply: "build",
    generateBundle(_, bundle) {
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") return;
      const found = readdirSync("public", { recursive: true, withFileTypes: true });
      const own = found.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
      const names = [...Object.keys(bundle), "index.html", ...own.map((name) => name.slice("public/".length))];
      // The model and ONNX Runtime are kept when they are used: one browser needs one of several
      const shell = [...new Set(names)].filter((name) => !/^sw\.js$|^models\/|ort-wasm|\.map$/.test(name)).sort();
      const build = createHash("sha256").update(names.sort().join()).digest("hex").slice(0, 12);
      worker.code = worker.code.replace("__SHELL__", JSON.stringify(shell)).replace("__BUILD__", JSON.stringify(build));
    },
  };
}

export default defineConfig(({ isSsrBuild }) => ({
  base: "./",
  plugins: [offline()],
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", "module", "browser", "development|production"] },
  worker: { format: "es" as const },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    ...(isSsrBuild
      ? { copyPublicDir: false }
      : {
          rolldownOptions: {
            input: { index: "index.html", sw: "src/sw.ts" },
            output: {
              entryFileNames: (chunk: { name: string }) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
            },
          },
        }),
  },
}));
