// The settings of this installation that a page needs: `/shop.json`, read once.
import { useEffect, useState } from "react";

import type { PushConfig } from "./api-types";
import { readJson, send } from "./http";
import { onceReached } from "./reach";

/** As backend/static_site.py writes it. */
export interface SiteConfig {
  hold_seconds: number;
  fee_percent: number;
  payment_grace_seconds: number;
  refund_window_seconds: number;
  max_tickets_per_order: number;
  session_seconds: number;
  /** Empty where cards are not taken, or not by Stripe. */
  stripe: { publishable_key: string; sandbox_url: string };
  push: PushConfig;
}

let reading: Promise<SiteConfig> | null = null;

/** Throws a Problem when it cannot be read; the next call tries again. */
export function siteConfig(): Promise<SiteConfig> {
  reading ??= send("GET", "/shop.json")
    .then(readJson)
    .then(
      (body) => body as SiteConfig,
      (error: unknown) => {
        reading = null;
        throw error;
      },
    );
  return reading;
}

/** Null until it is read. */
export function useSiteConfig(): SiteConfig | null {
  const [config, setConfig] = useState<SiteConfig | null>(null);
  useEffect(() => {
    let stop: () => void = () => undefined;
    const read = () => {
      siteConfig().then(setConfig, () => {
        stop = onceReached(read);
      });
    };
    read();
    return () => {
      stop();
    };
  }, []);
  return config;
}
