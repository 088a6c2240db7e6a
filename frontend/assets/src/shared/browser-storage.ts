// Values that the browser keeps for the shop: for the tab, or `lasting` until the user clears
// them. Where storage is disabled nothing is kept, and no call throws.

interface Lifetime {
  lasting?: boolean;
}

/** The kept value, parsed, or null. */
export function recall(name: string, lifetime?: Lifetime): unknown {
  try {
    return JSON.parse(storageFor(lifetime).getItem(name) ?? "null") as unknown;
  } catch {
    return null;
  }
}

export function keep(name: string, value: unknown, lifetime?: Lifetime): void {
  try {
    storageFor(lifetime).setItem(name, JSON.stringify(value));
  } catch {
    // Storage is disabled or full.
  }
}

export function forget(name: string, lifetime?: Lifetime): void {
  try {
    storageFor(lifetime).removeItem(name);
  } catch {
    // Storage is disabled.
  }
}

function storageFor({ lasting = false }: Lifetime = {}): Storage {
  return lasting ? localStorage : sessionStorage;
}
