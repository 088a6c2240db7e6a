import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    // Most modules need no browser; a test that does replaces the globals that it uses.
    environment: "node",
    restoreMocks: true,
    unstubGlobals: true,
    sequence: { shuffle: true },
  },
});
