// Subscribes to channels with pusher-js and prints each event as a line of JSON.
// argv[2]: {modules, host, port, key, channels, auth, userAuth, options};
// auth is {endpoint, headers}.
// stdin: one JSON command on each line,
// {do: subscribe | unsubscribe | trigger | send | signin | disconnect, ...}.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const config = JSON.parse(process.argv[2]);
const Pusher = createRequire(config.modules + "/")("pusher-js");

const print = (event, data, channel = null) =>
  process.stdout.write(JSON.stringify({ at: Date.now(), event, channel, data }) + "\n");

const endpoint = ({ endpoint, headers }) => ({ endpoint, headers, transport: "ajax" });
const pusher = new Pusher(config.key, {
  cluster: "self",
  wsHost: config.host,
  wsPort: config.port,
  forceTLS: false,
  enabledTransports: ["ws"],
  disableStats: true,
  ...(config.auth && { channelAuthorization: endpoint(config.auth) }),
  ...(config.userAuth && { userAuthentication: endpoint(config.userAuth) }),
  ...config.options,
});

pusher.connection.bind("state_change", ({ current }) => print("state", current));
pusher.connection.bind("error", (error) => print("error", error?.data ?? String(error)));
pusher.connection.bind("connected", () =>
  print("connected", { socket_id: pusher.connection.socket_id }),
);
// Messages of no channel: replies, sign-in, pings.
pusher.connection.bind("message", ({ event, channel, data }) => channel || print(event, data));
pusher.user.bind_global((event, data) => print(event, data, "user"));

const subscribe = (name) => {
  const channel = pusher.subscribe(name);
  channel.unbind_global();
  channel.bind_global((event, data) => print(event, data, name));
};
config.channels.forEach(subscribe);

const commands = {
  subscribe: ({ channel }) => subscribe(channel),
  unsubscribe: ({ channel }) => pusher.unsubscribe(channel),
  trigger: ({ channel, event, data }) => pusher.channel(channel).trigger(event, data),
  send: ({ event, data }) => pusher.send_event(event, data),
  signin: () => pusher.signin(),
  disconnect: () => pusher.disconnect(),
};
const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
});
// The parent process has ended.
input.on("close", () => process.exit(0));
