// Calls the gateway with the Go server library, and prints what it replied as lines of JSON.
// argv[1]: {host, app: {id, key, secret}, masterKey, socket}; host has a port.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/pusher/pusher-http-go/v5"
)

type settings struct {
	Host string
	App  struct{ ID, Key, Secret string }

	MasterKey string
	// A member of presence-room and private-encrypted-room, whose own events it must not receive.
	Socket  string
	Webhook struct{ Body, Signature string }
}

func report(check string, saw any, err error) {
	line := map[string]any{"check": check, "saw": saw}
	if err != nil {
		line["error"] = err.Error()
	}
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

func main() {
	var given settings
	if err := json.Unmarshal([]byte(os.Args[1]), &given); err != nil {
		panic(err)
	}
	client := pusher.Client{
		AppID: given.App.ID, Key: given.App.Key, Secret: given.App.Secret, Host: given.Host,
		EncryptionMasterKeyBase64: given.MasterKey,
	}

	both := "user_count,subscription_count"
	channels := []string{"presence-room", "show-1"}
	counted, err := client.TriggerMultiWithParams(
		channels, "counted", "go", pusher.TriggerParams{Info: &both})
	report("trigger", counted, err)
	err = client.TriggerExclusive("presence-room", "excluded", "go", given.Socket)
	report("trigger exclusive", nil, err)
	batch, err := client.TriggerBatch([]pusher.Event{
		{Channel: "show-1", Name: "batched", Data: map[string]int{"at": 0}},
		{Channel: "presence-room", Name: "batched", Data: map[string]int{"at": 1}, Info: &both},
	})
	report("batch", batch, err)
	err = client.Trigger("private-encrypted-room", "sealed", map[string]string{"by": "go"})
	report("encrypted", nil, err)
	err = client.SendToUser("ann", "personal", map[string]string{"by": "go"})
	report("send to user", nil, err)

	prefix, count := "presence-", "user_count"
	found, err := client.Channels(pusher.ChannelsParams{FilterByPrefix: &prefix, Info: &count})
	report("channels", found, err)
	one, err := client.Channel("presence-room", pusher.ChannelParams{Info: &count})
	report("channel", one, err)
	users, err := client.GetChannelUsers("presence-room")
	report("users", users, err)
	_, err = client.GetChannelUsers("show-1")
	report("users of a public channel", nil, err)

	form := url.Values{"socket_id": {"1234.1234"}, "channel_name": {"private-foobar"}}.Encode()
	private, err := client.AuthorizePrivateChannel([]byte(form))
	report("private", string(private), err)
	user, err := client.AuthenticateUser(
		[]byte("socket_id=1234.1234"), map[string]any{"id": "12345"})
	report("user", string(user), err)
	header := http.Header{}
	header.Set("X-Pusher-Key", given.App.Key)
	header.Set("X-Pusher-Signature", given.Webhook.Signature)
	webhook, err := client.Webhook(header, []byte(given.Webhook.Body))
	report("webhook", webhook, err)
}
