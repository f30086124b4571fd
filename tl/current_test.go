package tl

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func int256(t testing.TB, text string) (v Int256) {
	t.Helper()
	if copy(v[:], unhex(t, text)) != len(v) {
		t.Fatalf("%s is not 32 bytes", text)
	}
	return v
}

// TestCurrentMessages builds the messages that the newer release added or
// changed, in the order of the vector file, and compares both directions.
func TestCurrentMessages(t *testing.T) {
	var v struct {
		Messages []struct{ Name, ID, Note, Hex string }
	}
	readJSON(t, "current/tl_messages.json", &v)
	want := currentMessages(t)
	if len(v.Messages) != len(want) {
		t.Fatalf("%d vectors, %d messages here", len(v.Messages), len(want))
	}
	for i, m := range v.Messages {
		t.Run(fmt.Sprintf("%d %s", i, m.Name), func(t *testing.T) {
			b := unhex(t, m.Hex)
			if got := Marshal(want[i]); !bytes.Equal(got, b) {
				t.Errorf("encodes to\n%x, want\n%x", got, b)
			}
			if got := mustRoundTrip(t, b); !reflect.DeepEqual(got, want[i]) {
				t.Errorf("decodes to\n%#v, want\n%#v", got, want[i])
			}
			if id := fmt.Sprintf("%08x", want[i].TLID()); id != m.ID || want[i].TLName() != m.Name {
				t.Errorf("%s %s, want %s %s", want[i].TLName(), id, m.Name, m.ID)
			}
		})
	}
}

func currentMessages(t *testing.T) []Object {
	count := int256(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	after := int256(t, "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f")
	public := int256(t, "fb67d0fcd338f20e0d4957d9e82adc101d2e3513a448a3ab46052ee1b88c5818")
	private := int256(t, "070ad82e6132dab32067fb720afd0060555a64f905bbec0dc2849088951b3a63")
	request := &HTTPRequest{
		Method: "POST", URL: "/v1/completions", HTTPVersion: "HTTP/1.0",
		Headers: []HTTPHeader{{"Content-Type", "application/json"}},
		Payload: []byte(`{"model":"m","prompt":"x"}`),
	}
	ask := func(flags uint32, debug bool, key Int256) Object {
		return &ClientRunQueryEx{
			ModelName: "m", Query: Marshal(request), MaxCoefficient: 4000, MaxTokens: 10000, Timeout: 114,
			RequestID: count, MinConfigVersion: 7, Flags: flags, EnableDebug: debug, PublicKey: key,
		}
	}
	run := func(flags uint32, key Int256) Object {
		return &ProxyRunQueryEx{
			Query: Marshal(request), SignedPayment: &ProxySignedPaymentEmpty{}, Coefficient: 1000,
			Timeout: 108.3, RequestID: count, Flags: flags, PrivateKey: key,
		}
	}
	worker := func(flags uint32, least int32, machine string) Object {
		return &WorkerConnectToProxy{Params: WorkerParams{
			Flags: flags, WorkerOwnerAddress: "EQ_owner", Model: "Qwen/Qwen3-0.6B@c:h", Coefficient: 1000, ProxyCnt: 1,
			MaxActiveRequests: 60, MinProtoVersion: least, MaxProtoVersion: 4, MachineDescriptionJson: machine,
		}}
	}
	refuse := func(info ClientQueryFinalInfo) Object {
		return &ClientQueryAnswerErrorEx{
			RequestID: count, ErrorCode: 651, Error: "no workers for model m", Flags: 1, FinalInfo: info,
		}
	}
	key := KeyManagerPrivateKey{ValidUntilUtime: 2000000000, PrivateKey: private}
	registered := RootConfigRegisteredPublicKey{PublicKey: public, KeyType: 1, ExpireAt: 2000000000}
	return []Object{
		request,
		ask(1, false, Int256{}), ask(3, false, Int256{}), ask(3, true, public), ask(0, false, Int256{}),
		run(1, Int256{}), run(3, Int256{}), run(3, private),
		worker(3, 3, ""), worker(7, 4, `{"gpu":"H200"}`),
		&ClientConnectToProxy{
			Params: ClientParams{
				Flags: 3, ClientOwnerAddress: "EQ_wallet", MinProtoVersion: 1, MaxProtoVersion: 4},
			MinConfigVersion: 7,
		},
		&WorkerChangeModel{NewModel: "Qwen/Qwen3-32B@c:h"},
		&WorkerChangedModel{},
		&KeyManagerGetWorkerPrivateKeys{},
		&KeyManagerGetProxyPrivateKeys{},
		&KeyManagerPrivateKeys{Keys: []KeyManagerPrivateKey{key}},
		&KeyManagerPrivateKeys{},
		&KeyManagerDbKey{
			PrivateKey: private, KeyType: 1, ValidSinceConfigVersion: 5,
			ValidSinceUtime: 1700000000, ValidUntilUtime: 1700086400,
		},
		&registered,
		refuse(ClientQueryFinalInfo{
			Flags: 2, ProxyStartTime: 1.5, ProxyEndTime: 1.5, WorkerStartTime: 1.5, WorkerEndTime: 1.5}),
		refuse(ClientQueryFinalInfo{}),
		&RootConfigConfigV7{
			RootOwnerAddress: "EQ_root_owner", Version: 1, StructVersion: 5, ParamsVersion: 1, UniqueID: 17,
			PricePerToken: 20, WorkerFeePerToken: 18,
			PromptTokensPriceMultiplier: 10000, CachedTokensPriceMultiplier: 10000,
			CompletionTokensPriceMultiplier: 80000, ReasoningTokensPriceMultiplier: 10000,
			ProxyDelayBeforeClose: 86400, ClientDelayBeforeClose: 43200,
			MinProxyStake: 1000000000, MinClientStake: 15000000000,
			RegisteredPublicKeys: []RootConfigRegisteredPublicKey{registered},
			KeyManagerPublicKey:  count, KeyManagerImageHash: after, KeyManagerAddress: "[10.0.0.1:13001]",
		},
	}
}

// TestExtensions pins the bytes of our own objects; ids are CRC-32 of the
// declarations, computed apart from this code.
func TestExtensions(t *testing.T) {
	id := int256(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	hexID := hex.EncodeToString(id[:])
	for _, test := range []struct {
		o    Object
		want string
	}{
		{&CocoonFeatures{Names: []string{FeatureCancel}}, "1f6860bb" + "01000000" + "0663616e63656c00"},
		{&CocoonGetFeatures{}, "7eb5161a" + "00000000"},
		{&CocoonCancelQuery{RequestID: id}, "acb11839" + hexID},
		{&CocoonQueryProgress{RequestID: id, TokensUsed: TokensUsed{PromptTokensUsed: 1, TotalTokensUsed: 1}},
			"d7f558fd" + hexID + "0100000000000000" + "000000000000000000000000000000000000000000000000" + "0100000000000000"},
		{&CocoonQueuePosition{RequestID: id, Position: 2, WaitSeconds: 1.5},
			"be536b9f" + hexID + "02000000" + "000000000000f83f"},
		{&CocoonRunQuery{ModelName: "m", Query: []byte{7}, MaxCoefficient: 1, MaxTokens: 2, Timeout: 1.5, RequestID: id, MinConfigVersion: 3, Flags: 3,
			Wishes: CocoonWishes{Only: []string{"abcdef01"}, Sort: 1, MaxLatency: 1.5, NoFallbacks: true}},
			"ae715745" + "016d0000" + "01070000" + "01000000" + "02000000" + "000000000000f83f" + hexID + "03000000" + "03000000" + strings.Repeat("00", 32) + "00000000" +
				"00000000" + "01000000" + "0861626364656630" + "31000000" + "00000000" + "01000000" + "000000000000f83f" + "b5757299"},
		{&CocoonGetBook{Model: "m", Offers: 1, History: 2}, "e26e89a4" + "016d0000" + "01000000" + "02000000"},
		{&CocoonBook{}, "5b2f21ab" + "00000000"},
		{&CocoonWhyIdle{}, "c54322f9"},
		{&CocoonReasons{Cause: "full", Requests: 1, Won: 2, Price: 3, UsualPrice: 4, WouldWinAt: 5},
			"d44d2bc0" + "0466756c6c000000" + "00000000" + "01000000" + "02000000" + "03000000" + "04000000" + "05000000"},
	} {
		b := unhex(t, test.want)
		if got := Marshal(test.o); !bytes.Equal(got, b) {
			t.Errorf("%s encodes to %x, want %s", test.o.TLName(), got, test.want)
		}
		if got := mustRoundTrip(t, b); !reflect.DeepEqual(got, test.o) {
			t.Errorf("%s decodes to %#v", test.o.TLName(), got)
		}
	}
}
