// A value that components subscribe to: the one kind of store in the shop.
import { useSyncExternalStore } from "react";

export class Observable<T> {
  readonly #watchers = new Set<() => void>();
  #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Calls `watcher` after each change. Returns the function that unsubscribes it. */
  watch = (watcher: () => void): (() => void) => {
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  };

  get = (): T => this.#value;
}

/** The present value; the component renders again after each change. */
export function useValue<T>(observable: Observable<T>): T {
  return useSyncExternalStore(observable.watch, observable.get, observable.get);
}
