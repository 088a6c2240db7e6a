// Light or dark. Reflex's script in the head applies the remembered choice before the first paint.
import { useTheme } from "$/utils/react-theme";

import { text } from "../texts";
import { useHydrated } from "../use-hydrated";

const SUN =
  "M12 3v2m0 14v2m9-9h-2M5 12H3m15.4-6.4L17 7M7 17l-1.4 1.4m12.8 0L17 17M7 7 5.6 5.6" +
  "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z";
const MOON = "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z";

export function ThemeSwitch() {
  const { resolvedTheme, setTheme } = useTheme();
  const dark = useHydrated() && resolvedTheme === "dark";
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={dark ? text("shared.use_light") : text("shared.use_dark")}
      title={dark ? text("shared.light") : text("shared.dark")}
      onClick={() => {
        setTheme(dark ? "light" : "dark");
      }}
    >
      <svg
        width="18"
        height="18"
        viewBox="0 0 24 24"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.8"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
      >
        <path d={dark ? SUN : MOON} />
      </svg>
    </button>
  );
}
