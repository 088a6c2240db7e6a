// pusher-js without a socket: a test plays the gateway.

type Listener = (data?: unknown) => void;

class Events {
  readonly #listeners = new Map<string, Set<Listener>>();

  bind(event: string, listener: Listener): this {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return this;
  }

  unbind(event: string, listener: Listener): this {
    this.#listeners.get(event)?.delete(listener);
    return this;
  }

  emit(event: string, data?: unknown): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(data);
  }
}

class FakeChannel {
  subscribed = false;
  subscriptionPending = true;
  attempts = 1;
  #listener: ((event: string, data: unknown) => void) | null = null;

  bind_global(listener: (event: string, data: unknown) => void): this {
    this.#listener = listener;
    return this;
  }

  subscribe(): void {
    this.attempts += 1;
  }

  /** The gateway accepts the subscription; its last message was the one at this position. */
  accept(position: { _epoch?: string; _seq?: number } = {}): void {
    this.subscribed = true;
    this.subscriptionPending = false;
    this.send("pusher:subscription_succeeded", position);
  }

  /** The gateway sends a message. */
  send(event: string, data: unknown): void {
    this.#listener?.(event, data);
  }
}

export class FakePusher extends Events {
  static readonly Runtime = { createWebSocket: () => new EventTarget() };
  static last: FakePusher | null = null;
  readonly connection = Object.assign(new Events(), { state: "initialized" });
  readonly user = { signin_requested: false };
  readonly channels = new Map<string, FakeChannel>();
  readonly sent: string[] = [];
  /** The data of each `gittix:resume`. */
  readonly resumes: unknown[] = [];
  reconnects = 0;
  #socket = FakePusher.Runtime.createWebSocket();
  /** Whether messages pass in both directions. */
  stalled = false;

  constructor() {
    super();
    FakePusher.last = this;
  }

  subscribe(name: string): FakeChannel {
    const channel = this.channels.get(name) ?? new FakeChannel();
    this.channels.set(name, channel);
    return channel;
  }

  unsubscribe(name: string): void {
    this.channels.delete(name);
  }

  channel(name: string): FakeChannel | undefined {
    return this.channels.get(name);
  }

  allChannels(): FakeChannel[] {
    return [...this.channels.values()];
  }

  signin(): void {
    this.user.signin_requested = true;
  }

  send_event(event: string, data: object): boolean {
    if (event === "gittix:resume") {
      this.resumes.push(data);
      return true;
    }
    this.sent.push(event);
    if (!this.stalled) {
      setTimeout(() => {
        this.emit(event, { ...data, now: Date.now() });
      });
    }
    return true;
  }

  disconnect(): void {
    this.become("disconnected");
  }

  connect(): void {
    this.reconnects += 1;
    this.#socket = FakePusher.Runtime.createWebSocket();
    this.become("connecting");
  }

  become(state: string): void {
    this.connection.state = state;
    this.connection.emit("state_change", { current: state });
    if (state === "connected") this.connection.emit("connected");
  }

  /** The gateway ends, or its port is closed: pusher-js reports nothing. */
  close(): void {
    this.#socket.dispatchEvent(new Event("close"));
  }

  /** The socket is lost: its subscriptions are pending until the gateway accepts them again. */
  lose(): void {
    for (const channel of this.channels.values()) {
      channel.subscribed = false;
      channel.subscriptionPending = true;
    }
    this.become("unavailable");
  }
}
