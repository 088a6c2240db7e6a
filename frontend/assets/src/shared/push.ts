// The page's one connection to the push gateway, by pusher-js. Messages go from the gateway to the
// component that subscribed to their channel; no other server forwards them.
//
// Lost messages are always noticed. After a reconnect, or a gap in a channel's numbers, the gateway
// sends those that were missed (resumption.ts). If it can't, each affected subscriber reads the API
// again (catch-up.ts).
import Pusher from "pusher-js";
import type { ChannelAuthorizationHandler, UserAuthenticationHandler } from "pusher-js";

import { post } from "./api";
import type { PushConfig } from "./api-types";
import { keep, recall } from "./browser-storage";
import { CatchUp, JITTER_MS, RETURN_JITTER_MS } from "./catch-up";
import { GatewayClock } from "./gateway-clock";
import { send } from "./http";
import { newKey } from "./idempotency";
import { Observable } from "./observable";
import { type PushData, type PushMessage, RESUMED, SKIPPED, VIEWERS } from "./push-messages";
import { noteOffline, noteOnline, type Outage, reach } from "./reach";
import { jittered, Recovery } from "./recovery";
import { type Position, Resumption } from "./resumption";
import { checkSession, user } from "./session";
import { siteConfig } from "./site-config";
import { type Wake, watchWakes } from "./wake";

// The page reconnects by itself: pusher-js may wait 15 s after a gateway refused a connection. The
// longest delay is part of the 5 s within which a page is live after the gateway's return.
const RECONNECT_MS = 1000;
const RETRY_MS = 2000;
const MAX_RECONNECT_MS = 3000;
const GROWTH = 1.5;
// An attempt without an answer is given up: a slow network may need all of this time.
const PATIENCE_MS = 4000;
const MAX_PATIENCE_MS = 10_000;
const CAUGHT_UP_MS = 4000;
// A stalled network closes no socket. Together less than the 15 s after which a page must show that
// it is not live.
const ACTIVITY_TIMEOUT_MS = 9000;
const PONG_TIMEOUT_MS = 4000;
const SUBSCRIPTIONS = "pusher:subscription_count";
const BROWSER = "gittix:browser";
const LASTING = { lasting: true };
const TERMINATED = 4009; // The gateway closes with this code when the session has ended.

/** Of the push connection. After a loss it is "caught-up" for some seconds, then "live". */
type Link = "connecting" | "live" | "reconnecting" | "caught-up";
/** Of the page: an outage of the shop, else the state of its push connection. */
export type ConnectionState = Link | Outage;

export const connection = new Observable<ConnectionState>("connecting");

export interface Subscriber {
  onMessage: (message: PushMessage) => void;
  /** Read the API; called whenever messages may have been lost. */
  read: () => Promise<void>;
}

const channels = new Map<string, Channel>();
let pusher: Pusher | null = null;
/** Whether it is Pusher's own service. */
let hosted = false;
/** The connection is lost. */
let down = false;
/** The connection was lost, and not all subscribers have read again since. */
let recovering = false;
let link: Link = "connecting";
const catchUp = new CatchUp(caughtUp);
const recovery = new Recovery(
  () => catchUp.now(allSubscribers()),
  (url) => send("HEAD", url).catch(() => undefined),
);
reach.watch(show);

function setLink(next: Link): void {
  link = next;
  show();
}

function show(): void {
  connection.set(reach.value === "reached" ? link : reach.value);
}

function* allSubscribers(): Iterable<Subscriber> {
  for (const { subscribers } of channels.values()) yield* subscribers;
}

class Channel {
  readonly name: string;
  readonly subscribers = new Set<Subscriber>();
  /** The last count of the channel's viewers. */
  count: number | null = null;
  /** Subscribers since the channel was last subscribed; their first read may have failed. */
  readonly fresh = new Set<Subscriber>();
  readonly resumption: Resumption;

  constructor(name: string) {
    this.name = name;
    this.resumption = new Resumption({
      ask: (position) => this.#ask(position),
      deliver: (message) => {
        this.#deliver(message);
      },
      read: (jitterMs) => {
        catchUp.start(this.subscribers, jitterMs);
      },
      onAnswer: caughtUp,
    });
  }

  receive(event: string, data: PushData): void {
    if (event === "pusher:subscription_succeeded") {
      this.#subscribed(data);
      return;
    }
    if (event === RESUMED) {
      const { recovered = false, epoch = null, seq = null } = data;
      this.resumption.answer({ recovered, epoch, seq });
      return;
    }
    if (event === SKIPPED) {
      const { epoch, from = 0, to = 0 } = data;
      if (epoch !== undefined && epoch !== null) this.resumption.skip({ epoch, from, to });
      return;
    }
    if (event === "pusher:subscription_error") {
      this.#retryLater();
      return;
    }
    if (event === SUBSCRIPTIONS) {
      // Our gateway counts people; a hosted Pusher knows connections only.
      if (hosted) this.receive(VIEWERS, { count: data.subscription_count ?? 0 });
      return;
    }
    if (event === VIEWERS) this.count = data.count ?? null;
    this.resumption.accept({ event, data });
  }

  #subscribed({ _epoch, _seq }: PushData): void {
    const position =
      _epoch === undefined || _seq === undefined ? null : { epoch: _epoch, seq: _seq };
    const reading = this.resumption.subscribed(position) ? this.fresh : this.subscribers;
    catchUp.start(reading, recovering ? RETURN_JITTER_MS : 0);
    this.fresh.clear();
  }

  #deliver(message: PushMessage): void {
    if (message.data._read_again) {
      catchUp.start(this.subscribers, this.name.startsWith("private-") ? 0 : JITTER_MS);
      return;
    }
    for (const subscriber of this.subscribers) subscriber.onMessage(message);
  }

  /** Hosted Pusher does not know the request. */
  #ask({ epoch, seq }: Position): boolean {
    if (hosted || !pusher) return false;
    return pusher.send_event("gittix:resume", { channel: this.name, epoch, seq });
  }

  /**
   * The API did not answer, or the gateway refused its signature. pusher-js itself subscribes again
   * only after a reconnect. A page whose session has ended unsubscribes from its user's channel.
   */
  #retryLater(): void {
    setTimeout(
      () => {
        if (channels.get(this.name) !== this || pusher?.connection.state !== "connected") return;
        pusher.channel(this.name).subscribe();
      },
      RETRY_MS * (1 + Math.random()),
    );
  }
}

/** Subscribe to a channel. Returns the function that unsubscribes. */
export function subscribe(name: string, subscriber: Subscriber): () => void {
  let channel = channels.get(name);
  if (!channel) {
    channel = new Channel(name);
    channels.set(name, channel);
    if (pusher) bind(pusher, channel);
  } else if (pusher?.channel(name).subscribed) {
    catchUp.start([subscriber], 0);
  } else {
    channel.fresh.add(subscriber);
  }
  channel.subscribers.add(subscriber);
  if (channel.count !== null) {
    subscriber.onMessage({ event: VIEWERS, data: { count: channel.count } });
  }
  connect();
  return () => {
    channel.subscribers.delete(subscriber);
    channel.fresh.delete(subscriber);
    if (channel.subscribers.size > 0 || channels.get(name) !== channel) return;
    channels.delete(name);
    channel.resumption.lost();
    pusher?.unsubscribe(name);
  };
}

function bind(client: Pusher, channel: Channel): void {
  client.subscribe(channel.name).bind_global((event: string, data: PushData | undefined) => {
    channel.receive(event, data ?? {});
  });
}

let connecting: Promise<void> | null = null;

/** Open the page's connection, unless it is open. */
export function connect(): void {
  connecting ??= siteConfig()
    .then(({ push }) => {
      open(push);
    })
    .catch(() => {
      connecting = null;
      setTimeout(connect, jittered(RETRY_MS));
    });
}

function open({ key, host, port, tls, cluster }: PushConfig): void {
  // Before pusher-js opens the first.
  watchSockets();
  const opened = new Pusher(key, {
    cluster,
    ...(host && { wsHost: host, wsPort: port, wssPort: port }),
    forceTLS: tls,
    // One transport, with or without TLS as configured. With "wss" beside it pusher-js would try
    // both, and the content security policy allows only one.
    enabledTransports: ["ws"],
    activityTimeout: ACTIVITY_TIMEOUT_MS,
    pongTimeout: PONG_TIMEOUT_MS,
    channelAuthorization: { transport: "ajax", endpoint: "", customHandler: authorizeChannel },
    userAuthentication: { transport: "ajax", endpoint: "", customHandler: authenticateUser },
  });
  pusher = opened;
  hosted = !host;
  const clock = hosted ? null : clockOf(opened);
  opened.connection.bind("state_change", ({ current }: { current: string }) => {
    clock?.stop();
    // Before the subscriptions, which count as those of this browser.
    if (current === "connected" && !hosted) nameBrowser(opened);
    stateChanged(opened, current);
    if (current === "connected") clock?.ask();
  });
  opened.connection.bind("error", (error?: { data?: { code?: number } }) => {
    if (error?.data?.code === TERMINATED) void checkSession();
  });
  user.watch(() => {
    identify(opened);
  });
  identify(opened);
  for (const channel of channels.values()) bind(opened, channel);
  addEventListener("offline", () => {
    noteOffline();
    lost();
  });
  watchWakes((wake) => {
    wakeUp(opened, wake);
    if (opened.connection.state === "connected") clock?.ask();
  });
  // The end of the API's outage may be the end of the gateway's.
  reach.watch(() => {
    if (reach.value === "reached" && down) reconnectLater(opened, Math.random() * RECONNECT_MS);
  });
  reconnectLater(opened, PATIENCE_MS);
}

/**
 * pusher-js reports no attempt that was refused, and waits. The page then reconnects after a delay
 * that grows, instead of waiting for an answer. It also reports the loss of a connection only when
 * it connects again, a second later.
 */
function watchSockets(): void {
  const { Runtime: runtime } = Pusher;
  const create = runtime.createWebSocket.bind(runtime);
  let latest: unknown = null;
  runtime.createWebSocket = (url) => {
    const socket = create(url);
    latest = socket;
    (socket as WebSocket).addEventListener("close", () => {
      if (!pusher || socket !== latest) return;
      if (pusher.connection.state === "connected") {
        lost();
        return;
      }
      reconnectLater(pusher, jittered(delay));
      delay = Math.min(delay * GROWTH, MAX_RECONNECT_MS);
    });
    return socket;
  };
}

/** All tabs of the browser have one id, so that the gateway counts them as one viewer. */
function nameBrowser(client: Pusher): void {
  const kept = recall(BROWSER, LASTING);
  const browser = typeof kept === "string" ? kept : newKey();
  if (browser !== kept) keep(BROWSER, browser, LASTING);
  client.send_event("gittix:viewer", { browser });
}

/** Pusher's own service does not know the question. */
function clockOf(client: Pusher): GatewayClock {
  const send = (question: number) => void client.send_event("gittix:time", { question });
  const clock = new GatewayClock(send, () => {
    reconnect(client);
  });
  client.bind("gittix:time", clock.answer);
  return clock;
}

/** Read everything now: no other browser wakes at the same moment. */
function wakeUp(client: Pusher, wake: Wake): void {
  if (wake === "online") noteOnline();
  if (wake === "restored" || wake === "online") reconnect(client);
  catchUp.start(allSubscribers(), 0);
}

/** As pusher-js would request it, but with a session that is refreshed when it has expired. */
const authorizeChannel: ChannelAuthorizationHandler = ({ socketId, channelName }, done) => {
  const form = new URLSearchParams({ socket_id: socketId, channel_name: channelName });
  post("/api/push/auth", form).then(
    ({ auth, channel_data }) => {
      done(null, channel_data ? { auth, channel_data } : { auth });
    },
    (error: unknown) => {
      done(error as Error, null);
    },
  );
};

/** The id of the user that the connection is authenticated for. */
let identity: string | null = null;

const authenticateUser: UserAuthenticationHandler = ({ socketId }, done) => {
  if (!identity) {
    done(new Error("Nobody is signed in."), null);
    return;
  }
  post("/api/push/user-auth", new URLSearchParams({ socket_id: socketId })).then(
    (reply) => {
      done(null, reply);
    },
    (error: unknown) => {
      done(error as Error, null);
    },
  );
};

/**
 * Authenticate the connection for the signed-in user, so that it is closed when the session ends.
 * Another user gets another connection.
 */
function identify(client: Pusher): void {
  const id = user.value?.id ?? null;
  if (id === identity) return;
  const first = identity === null && !client.user.signin_requested;
  identity = id;
  if (first) client.signin();
  else reconnect(client);
}

function reconnect(client: Pusher): void {
  client.disconnect();
  client.connect();
}

let reconnecting: ReturnType<typeof setTimeout> | null = null;
let reconnectAt = Infinity;
let delay = RECONNECT_MS;
let patience = PATIENCE_MS;

function stateChanged(client: Pusher, state: string): void {
  if (state === "connected") {
    stopReconnecting();
    [delay, patience] = [RECONNECT_MS, PATIENCE_MS];
    down = false;
    recovery.setPushLost(false);
    // After a loss, the connection is live once each channel has its missed messages, or its
    // subscribers have read again. Either begins when the channel is subscribed.
    if (!recovering) setLink("live");
    else if (channels.size === 0) caughtUp();
    return;
  }
  if (link !== "connecting") lost();
  if (state !== "initialized") reconnectLater(client, jittered(patience));
}

function lost(): void {
  for (const { resumption } of channels.values()) resumption.lost();
  down = true;
  recovering = true;
  setLink("reconnecting");
  recovery.setPushLost(true);
}

/** Reconnect after this time, or before when that is planned, unless it is connected by then. */
function reconnectLater(client: Pusher, afterMs: number): void {
  const at = performance.now() + afterMs;
  if (at >= reconnectAt) return;
  stopReconnecting();
  reconnectAt = at;
  reconnecting = setTimeout(() => {
    stopReconnecting();
    if (client.connection.state === "connected") return;
    patience = Math.min(patience * GROWTH, MAX_PATIENCE_MS);
    // The first connection of the page did not come about.
    lost();
    reconnect(client);
  }, afterMs);
}

function stopReconnecting(): void {
  if (reconnecting !== null) clearTimeout(reconnecting);
  reconnecting = null;
  reconnectAt = Infinity;
}

let becomingLive: ReturnType<typeof setTimeout> | undefined;

function caughtUp(): void {
  // A read that began before the loss may end after it, with data from before it.
  if (down || !recovering || !catchUp.idle) return;
  if ([...channels.values()].some(({ resumption }) => resumption.waits)) return;
  if (pusher?.allChannels().some((channel) => channel.subscriptionPending)) return;
  recovering = false;
  setLink("caught-up");
  clearTimeout(becomingLive);
  becomingLive = setTimeout(() => {
    if (link === "caught-up") setLink("live");
  }, CAUGHT_UP_MS);
}
