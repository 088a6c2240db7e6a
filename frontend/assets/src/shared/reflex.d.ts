// Modules that Reflex writes beside the sources when it builds.

declare module "$/utils/react-theme" {
  export function useTheme(): {
    resolvedTheme: "light" | "dark";
    setTheme: (theme: "light" | "dark" | "system") => void;
  };
}
