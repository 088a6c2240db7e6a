// A value that components watch: the one kind of store in the shop.
import { useSyncExternalStore } from "react";

export class Observable {
  #watchers = new Set();

  constructor(value) {
    this.value = value;
  }

  set(value) {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const watcher of [...this.#watchers]) watcher();
  }

  watch = (watcher) => {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  };

  get = () => this.value;
}

/** The value now, and again whenever it changes. */
export function useValue(observable) {
  return useSyncExternalStore(observable.watch, observable.get, observable.get);
}
