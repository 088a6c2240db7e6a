// The page's one connection to the push gateway, over plain pusher-js. A message goes from the gateway to the widget
// that asked for its channel, and through no other server.
//
// No gap goes unseen: a message of the notifier carries its channel's epoch and a number that grows by one. After a
// reconnect, after a jump of that number, or under a new epoch, everybody who listens reads the API again, at a moment
// of its own within three seconds, so that a restarted gateway is not followed by a stampede.
import Pusher from "pusher-js";

import { post, shopFacts } from "./api.js";
import { heard } from "./clock.js";
import { Observable } from "./observable.js";
import { checkSession, user } from "./session.js";

const RECONNECT_MS = 2000; // pusher-js may wait 15 s once a gateway refused it.
const MAX_RECONNECT_MS = 10_000;
const JITTER_MS = 3000;
const CAUGHT_UP_MS = 4000;
const CLOCK_QUESTIONS = 4;
const CLOCK_SPACING_MS = 150;
const TERMINATED = 4009; // the user's connections were ended

/** "connecting", "live", "reconnecting", "caught-up" or "offline". */
export const connection = new Observable("connecting");

const listeners = new Map(); // channel name -> Channel
let pusher = null;
let down = false; // the connection is lost
let recovering = false; // it was lost, and not everybody has read again since

class Channel {
  constructor(name) {
    this.name = name;
    this.handlers = new Set();
    this.epoch = null;
    this.seq = 0;
    this.count = null;
  }

  received(event, data) {
    if (event === "pusher:subscription_succeeded") return this.subscribed();
    if (event === "pusher:subscription_count") this.count = data.subscription_count;
    else if (data?._seq !== undefined && !this.advances(data)) return undefined;
    for (const handler of this.handlers) handler.message(event, data);
    return undefined;
  }

  /** Note the message's place. False when it is known already; what was missed is read again. */
  advances({ _epoch, _seq }) {
    const sameEpoch = _epoch === this.epoch;
    if (sameEpoch && _seq <= this.seq) return false;
    const missed = this.epoch !== null && !(sameEpoch && _seq === this.seq + 1);
    this.epoch = _epoch;
    this.seq = _seq;
    if (missed) catchUp(this.handlers, JITTER_MS);
    return true;
  }

  subscribed() {
    // What was sent before this cannot be known, so no number is expected next.
    this.epoch = null;
    catchUp(this.handlers, recovering ? JITTER_MS : 0);
  }
}

/**
 * Listen to a channel. `message(event, data)` gets what it says; `reread()` is called whenever messages may have been
 * missed, and returns a promise of having read the API. Returns the way to stop.
 */
export function listen(name, handler) {
  let channel = listeners.get(name);
  if (!channel) {
    channel = new Channel(name);
    listeners.set(name, channel);
    if (pusher) subscribe(channel);
  } else if (pusher?.channel(name)?.subscribed) {
    catchUp([handler], 0);
  }
  channel.handlers.add(handler);
  if (channel.count !== null) handler.message("pusher:subscription_count", { subscription_count: channel.count });
  connect();
  return () => {
    channel.handlers.delete(handler);
    if (channel.handlers.size > 0 || listeners.get(name) !== channel) return;
    listeners.delete(name);
    pusher?.unsubscribe(name);
  };
}

function subscribe(channel) {
  pusher.subscribe(channel.name).bind_global((event, data) => channel.received(event, data));
}

let connecting = null;

/** Open the page's connection, unless that was done. */
export function connect() {
  connecting ??= shopFacts()
    .then(({ push }) => open(push))
    .catch(() => {
      connecting = null;
      setTimeout(connect, RECONNECT_MS);
    });
}

function open({ key, host, port, tls, cluster }) {
  pusher = new Pusher(key, {
    cluster,
    ...(host && { wsHost: host, wsPort: port, wssPort: port }),
    forceTLS: tls,
    // With or without TLS, as the installation says; "wss" beside it would try both, against the page's own policy.
    enabledTransports: ["ws"],
    channelAuthorization: { customHandler: authorize },
    userAuthentication: { customHandler: introduce },
  });
  pusher.connection.bind("state_change", ({ current }) => changed(current));
  pusher.connection.bind("connected", askTime);
  pusher.connection.bind("error", (fault) => fault?.data?.code === TERMINATED && checkSession());
  user.watch(identify);
  identify();
  for (const channel of listeners.values()) subscribe(channel);
  addEventListener("offline", lost);
  // The old socket may look alive for minutes, on a network that has gone.
  addEventListener("online", reconnect);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && pusher.connection.state === "connected") askTime();
  });
  nudge(RECONNECT_MS);
}

/** As pusher-js would ask, but with a session that is renewed when it has run out. */
function authorize({ socketId, channelName }, done) {
  asked("/api/push/auth", { socket_id: socketId, channel_name: channelName }, done);
}

function asked(path, fields, done) {
  post(path, new URLSearchParams(fields)).then(
    (answer) => done(null, answer),
    (fault) => done(fault, null),
  );
}

let identity = null;

/** The socket is its user's, so that ending every session of a user ends it as well. Another user gets another socket. */
function identify() {
  const id = user.value?.id ?? null;
  if (id === identity) return;
  const first = identity === null && !pusher.user.signin_requested;
  identity = id;
  if (first) pusher.signin();
  else reconnect();
}

/** Who has this connection, as the API says it. */
function introduce({ socketId }, done) {
  if (!identity) return done(new Error("nobody is signed in"), null);
  return asked("/api/push/user-auth", { socket_id: socketId }, done);
}

function reconnect() {
  pusher.disconnect();
  pusher.connect();
}

let nudging = null;
let delay = RECONNECT_MS;

function changed(state) {
  if (state === "connected") {
    nudging = clearTimeout(nudging) ?? null;
    delay = RECONNECT_MS;
    down = false;
    // After a loss it is live when all have read again, which each channel sets off as it is subscribed.
    if (!recovering) connection.set("live");
    else if (listeners.size === 0) allCaughtUp();
    return;
  }
  if (connection.value !== "connecting") lost();
  if (state !== "initialized") nudge(delay);
}

function lost() {
  down = true;
  recovering = true;
  connection.set(navigator.onLine ? "reconnecting" : "offline");
}

/** Unless it is connected by then, connect anew: sooner than pusher-js would, and not all browsers at once. */
function nudge(after) {
  nudging ??= setTimeout(
    () => {
      nudging = null;
      if (pusher.connection.state === "connected") return;
      delay = Math.min(delay * 1.5, MAX_RECONNECT_MS);
      reconnect();
    },
    after * (1 + Math.random() / 4),
  );
}

const waiting = new Set(); // handlers that will read again soon
const readings = new Set();
let calm = null;

function catchUp(handlers, jitter) {
  for (const handler of handlers) {
    if (!waiting.has(handler)) rereadSoon(handler, jitter);
  }
}

async function rereadSoon(handler, jitter) {
  waiting.add(handler);
  await new Promise((resolve) => setTimeout(resolve, Math.random() * jitter));
  // From here on a new gap asks for another reading.
  waiting.delete(handler);
  const reading = handler.reread().then(
    () => true,
    () => false,
  );
  readings.add(reading);
  const done = await reading;
  readings.delete(reading);
  if (!done) catchUp([handler], 2 * JITTER_MS);
  else if (readings.size === 0 && waiting.size === 0) allCaughtUp();
}

function allCaughtUp() {
  // A reading from before the loss may end after it, and then says nothing.
  if (down || !recovering) return;
  if (pusher.allChannels().some((channel) => channel.subscriptionPending)) return;
  recovering = false;
  connection.set("caught-up");
  clearTimeout(calm);
  calm = setTimeout(() => {
    if (connection.value === "caught-up") connection.set("live");
  }, CAUGHT_UP_MS);
}

/** Ask the gateway for its time, a few times: the answer with the least round trip is the best. */
function askTime() {
  let asked = 0;
  const ask = () => {
    asked += 1;
    const sentAt = performance.now();
    const answered = ({ now }) => {
      pusher.unbind("gittix:time", answered);
      heard(now, sentAt, performance.now());
    };
    pusher.bind("gittix:time", answered);
    pusher.send_event("gittix:time", {});
    if (asked < CLOCK_QUESTIONS) setTimeout(ask, CLOCK_SPACING_MS);
  };
  ask();
}
