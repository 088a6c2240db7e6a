import com.google.gson.Gson;
import com.pusher.client.PusherOptions;
import com.pusher.client.channel.PresenceChannelEventListener;
import com.pusher.client.channel.PrivateEncryptedChannelEventListener;
import com.pusher.client.channel.PusherEvent;
import com.pusher.client.channel.User;
import com.pusher.client.util.HttpChannelAuthorizer;
import com.pusher.rest.Pusher;
import com.pusher.rest.data.Event;
import com.pusher.rest.data.PresenceUser;
import com.pusher.rest.data.Result;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * Connects pusher-java-client to the gateway, calls it with pusher-http-java, and prints what each
 * of them saw as lines of JSON. args: host, port, app id, key, secret, URL of the authorization.
 */
public class Clients {
    private static final Gson GSON = new Gson();
    private static final BlockingQueue<List<String>> SEEN = new LinkedBlockingQueue<>();

    static class Listener
            implements PresenceChannelEventListener, PrivateEncryptedChannelEventListener {
        public void onEvent(PusherEvent event) {
            see("event", event.getChannelName(), event.getEventName(), event.getData());
        }

        public void onSubscriptionSucceeded(String channel) {
            see("subscribed", channel);
        }

        public void onAuthenticationFailure(String message, Exception error) {
            see("refused", message);
        }

        public void onUsersInformationReceived(String channel, Set<User> users) {
            Set<String> ids = new TreeSet<>();
            users.forEach(user -> ids.add(user.getId() + " " + user.getInfo()));
            see("users", channel, ids.toString());
        }

        public void userSubscribed(String channel, User user) {
            see("joined", channel, user.getId());
        }

        public void userUnsubscribed(String channel, User user) {
            see("left", channel, user.getId());
        }

        public void onDecryptionFailure(String event, String reason) {
            see("undecrypted", event, reason);
        }
    }

    static void see(String... parts) {
        SEEN.add(List.of(parts));
    }

    static void report(String check, Object saw) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("check", check);
        line.put("saw", saw);
        System.out.println(GSON.toJson(line));
    }

    /** Waits for what begins with these parts; skips others. */
    static List<String> await(String... parts) throws InterruptedException {
        List<String> wanted = List.of(parts);
        while (true) {
            List<String> found = SEEN.poll(5, TimeUnit.SECONDS);
            if (found == null) {
                throw new IllegalStateException("nothing came for " + wanted);
            }
            if (found.size() >= wanted.size() && found.subList(0, wanted.size()).equals(wanted)) {
                return found;
            }
        }
    }

    static List<Object> reply(Result result) {
        return List.of(String.valueOf(result.getHttpStatus()), result.getMessage());
    }

    static com.pusher.client.Pusher connect(String[] args, String user) throws Exception {
        HttpChannelAuthorizer channels = new HttpChannelAuthorizer(args[5] + "/auth");
        channels.setHeaders(Map.of("X-User", user));
        com.pusher.client.Pusher opened = new com.pusher.client.Pusher(
                args[3],
                new PusherOptions()
                        .setHost(args[0])
                        .setWsPort(Integer.parseInt(args[1]))
                        .setUseTLS(false)
                        .setChannelAuthorizer(channels));
        opened.connect();
        return opened;
    }

    public static void main(String[] args) throws Exception {
        try {
            run(args);
        } catch (Exception error) {
            error.printStackTrace();
            // Threads of the clients would keep the process running.
            System.exit(1);
        }
        System.exit(0);
    }

    static void run(String[] args) throws Exception {
        Pusher api = new Pusher(args[2], args[3], args[4]);
        api.setHost(args[0] + ":" + args[1]);
        Listener listener = new Listener();

        com.pusher.client.Pusher ann = connect(args, "ann");
        ann.subscribe("show-1", listener, "n");
        await("subscribed", "show-1");
        report("trigger", reply(api.trigger(List.of("show-1", "show-2"), "n", Map.of("at", 1))));
        report("event", await("event", "show-1"));

        ann.subscribePresence("presence-room", listener, "n");
        report("users", await("users", "presence-room"));
        com.pusher.client.Pusher bob = connect(args, "bob");
        bob.subscribePresence("presence-room", new Listener() {
            public void onUsersInformationReceived(String channel, Set<User> users) {}
        }, "client-wave");
        report("joined", await("joined", "presence-room"));
        report("queried", List.of(
                reply(api.get("/channels/presence-room/users")),
                reply(api.get("/channels", Map.of(
                        "filter_by_prefix", "presence-", "info", "user_count")))));
        SEEN.clear();
        ann.getPresenceChannel("presence-room").trigger("client-wave", "{\"by\":\"ann\"}");
        report("client event", await("event", "presence-room", "client-wave"));
        bob.unsubscribe("presence-room");
        report("left", await("left", "presence-room"));

        ann.subscribePrivateEncrypted("private-encrypted-room", listener, "sealed");
        await("subscribed", "private-encrypted-room");
        System.out.println("{\"ready\":true}");
        report("encrypted", await("event", "private-encrypted-room", "sealed"));

        report("batch", reply(api.trigger(List.of(
                new Event("show-1", "n", Map.of("at", 2)), new Event("show-2", "n", "text")))));
        report("batched event", await("event", "show-1"));
        report("too large", api.trigger("show-1", "n", "x".repeat(10_241)).getHttpStatus());
        Pusher forged = new Pusher(args[2], args[3], "other");
        forged.setHost(args[0] + ":" + args[1]);
        report("forged", forged.trigger("show-1", "n", "").getStatus());
        report("authorized", List.of(
                api.authenticate("1234.1234", "private-foobar"),
                api.authenticate("1.1", "presence-a", new PresenceUser("ann"))));
    }
}
