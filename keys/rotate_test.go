package keys

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
)

// Three days: a key each hour that lives a day, each registered once it is ripe,
// although the way there loses some, and erased when its day is over.
func TestThreeDays(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.chain.set(func() { r.chain.lose = 3 })
		born := time.Now()
		made := map[fieldcrypt.PublicKey]bool{}
		for time.Since(born) < 72*time.Hour {
			pass(10 * time.Minute)
			keys, now := r.entries(), time.Now().Unix()
			for _, e := range keys {
				made[e.public] = true
				if e.kind != TypeV1 || e.expires-e.created != 86400 || e.expires <= now {
					t.Fatalf("key of type %d made at %d for %d, now %d", e.kind, e.created, e.expires, now)
				}
				if !e.listed && now-e.created > 600 {
					t.Fatalf("a key is not registered %d s after its birth", now-e.created)
				}
			}
			hours := int(time.Since(born)/time.Hour) + 1
			if want := min(hours, 24); len(keys) < want-1 || len(keys) > 25 {
				t.Fatalf("%d keys after %v, want %d", len(keys), time.Since(born), want)
			}
		}
		pass(time.Minute)
		if len(made) < 71 || len(made) > 73 {
			t.Errorf("%d keys in three days, want 72", len(made))
		}
		if r.chain.told() != len(made)+3 {
			t.Errorf("the registry was told %d times of %d keys, three messages were lost", r.chain.told(), len(made))
		}
	})
}

// A key is handed out for a while before any app can see it.
func TestKeyRipens(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		f := r.follower(nil)
		pass(time.Second)
		if f.Count() != 1 || r.chain.told() != 0 || len(r.chain.Root().PublicKeys) != 0 {
			t.Fatalf("after a second the proxy has %d keys and the registry was told %d times, want 1 and 0", f.Count(), r.chain.told())
		}
		pass(30 * time.Second)
		if got := r.chain.Root().PublicKeys; len(got) != 1 || r.chain.told() != 1 || int64(got[0].ExpireAt) != r.entries()[0].expires || got[0].Type != TypeV1 {
			t.Errorf("registry lists %v, told %d times", got, r.chain.told())
		}
		if s := r.m.Snapshot(); s.Status.Usable != 1 || !s.Status.Named || s.Status.Trouble != "" || !s.Keys[0].Registered {
			t.Errorf("%+v %+v", s.Status, s.Keys)
		}
	})
}

// A restart makes no registered key unknown, and no new one before its time.
func TestRestart(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		pass(150 * time.Minute)
		before, f := r.publics(), r.follower(nil)
		pass(time.Second)
		r.stop()
		pass(20 * time.Minute)
		if f.Count() != len(before) {
			t.Errorf("a proxy has %d keys while the key manager is away, want %d", f.Count(), len(before))
		}
		told := r.chain.told()
		r.start()
		pass(time.Minute)
		if after := r.publics(); !slices.Equal(after, before) || len(before) != 3 {
			t.Errorf("%d keys after a restart, want the same %d", len(after), len(before))
		}
		if r.chain.told() != told {
			t.Error("keys that the registry lists were registered again")
		}
		pass(12 * time.Minute)
		if len(r.publics()) != 4 {
			t.Errorf("%d keys, want the fourth: its hour has come", len(r.publics()))
		}
	})
}

// What cannot be stored is not handed out, not registered, and tried again.
func TestDiskFails(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		pass(time.Minute)
		r.disk.fail(errors.New("disk is full"))
		pass(2 * time.Hour)
		if s := r.m.Snapshot(); len(s.Keys) != 1 || s.Status.Trouble == "" || len(r.chain.Root().PublicKeys) != 1 {
			t.Errorf("%d keys, trouble %q, %d registered, want the one that was stored", len(s.Keys), s.Status.Trouble, len(r.chain.Root().PublicKeys))
		}
		if _, err := r.m.Generate(5); err == nil {
			t.Error("a key was made that is not stored")
		}
		if err := r.m.Remove(r.publics()[0]); err == nil || len(r.publics()) != 1 {
			t.Error("a key was erased that the disk still has")
		}
		r.disk.fail(nil)
		pass(time.Minute)
		if s := r.m.Snapshot(); len(s.Keys) != 2 || s.Status.Trouble != "" || s.Status.Usable != 2 {
			t.Errorf("%d keys, %+v, want it to go on", len(s.Keys), s.Status)
		}
	})
}

// A disk that is damaged or written by others stops the start: to begin anew
// would make every registered key unknown.
func TestDamagedStore(t *testing.T) {
	good := string(encode([]*entry{newEntry(1, time.Now(), time.Hour)}))
	for _, text := range []string{"", "nonsense", good + good, good[:len(good)-20], `{"format":2,"keys":[]}`, `{"format":1,"keys":[],"more":1}`,
		`{"format":1,"keys":[{"private":"00","type":1,"created":1,"expires":2}]}`,
		`{"format":1,"keys":[{"private":"` + zeros + `","type":1,"created":2,"expires":1}]}`,
		`{"format":1,"keys":[{"private":"` + zeros + `","type":300,"created":1,"expires":2}]}`,
		`{"format":1,"keys":[{"private":"` + zeros + `","type":1,"created":1,"expires":9999999999}]}`,
		`{"format":1,"keys":[{"private":"` + zeros + `","type":1,"created":1,"expires":2},{"private":"` + zeros + `","type":1,"created":1,"expires":2}]}`,
	} {
		_, err := New(Config{Listener: newDoor(), Registry: contract.NewMemory(testRoot(t)), Key: managerKey, Store: &disk{data: []byte(text)}})
		if err == nil {
			t.Errorf("started with %q", text)
		}
	}
	if keys, err := decode([]byte(good)); err != nil || len(keys) != 1 {
		t.Errorf("%v", err)
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// What the network's owner strikes is given out no more, within seconds; so is a
// key that somebody removes here.
func TestStruck(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		f := r.follower(nil)
		pass(3*time.Hour + 10*time.Minute)
		keys := r.publics()
		if len(keys) != 4 || f.Count() != 4 {
			t.Fatalf("%d keys, %d at the proxy, want 4", len(keys), f.Count())
		}
		r.chain.change(func(r *contract.Root) { r.PublicKeys[0].Type = 9 }) // another type over it is how an owner strikes
		pass(15 * time.Second)
		if _, ok := f.Private(keys[0]); ok || f.Count() != 3 {
			t.Errorf("a key that was struck is still used, %d keys", f.Count())
		}
		if err := r.m.Remove(keys[1]); err != nil {
			t.Error(err)
		}
		if err := r.m.Remove(keys[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("removed twice: %v", err)
		}
		pass(15 * time.Second)
		if _, ok := f.Private(keys[1]); ok || f.Count() != 2 {
			t.Errorf("a key that was removed is still used, %d keys", f.Count())
		}
		r.stop()
		r.start()
		if got := r.publics(); len(got) != 2 || got[0] != keys[2] {
			t.Errorf("%d keys after a restart, want the two that are left", len(got))
		}
	})
}

// A registry that names somebody else is told nothing, and its silence about our
// keys erases none.
func TestNotNamed(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		pass(time.Minute)
		first := r.publics()[0]
		r.chain.change(func(r *contract.Root) { r.KeyManagerKey, r.PublicKeys = nil, nil })
		pass(2 * time.Hour)
		if !slices.Contains(r.publics(), first) {
			t.Error("a key was erased because somebody else's registry does not list it")
		}
		s := r.m.Snapshot()
		if len(s.Keys) != 3 || s.Status.Named || s.Status.Trouble == "" || r.chain.told() != 1 {
			t.Errorf("%d keys, told %d times, %+v", len(s.Keys), r.chain.told(), s.Status)
		}
	})
}

// A wallet that cannot pay is trouble that passes.
func TestRegistrarFails(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.chain.set(func() { r.chain.err = errors.New("send money to the wallet") })
		pass(time.Minute)
		if s := r.m.Snapshot(); s.Status.Trouble == "" || s.Status.Usable != 0 {
			t.Errorf("%+v", s.Status)
		}
		r.chain.set(func() { r.chain.err = nil })
		pass(time.Minute)
		if s := r.m.Snapshot(); s.Status.Trouble != "" || s.Status.Usable != 1 {
			t.Errorf("%+v, want one usable key", s.Status)
		}
	})
}

// What is struck before the key manager has seen it listed is struck all the
// same: it is not given out, and the registry is not asked to take it again.
func TestStruckUnseen(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		f := r.follower(nil)
		pass(16 * time.Second) // told, and not listed yet
		struck := r.publics()[0]
		r.stop()
		pass(10 * time.Second)
		r.chain.change(func(r *contract.Root) { r.PublicKeys[0].Type = 9 })
		told := r.chain.told()
		r.start()
		pass(20 * time.Minute)
		if _, ok := f.Private(struck); ok || slices.Contains(r.publics(), struck) {
			t.Error("a key that was struck is still given out")
		}
		if n := r.chain.told() - told; n != 1 {
			t.Errorf("the registry was told %d times, want once of the key made in its place", n)
		}
	})
}

// A registry that takes no keys, for whatever reason, does not drain the wallet.
func TestRegistryTakesNothing(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.chain.set(func() { r.chain.lose = 1 << 30 })
		pass(24 * time.Hour)
		if n := r.chain.told(); n > 24*20 {
			t.Errorf("the registry was told %d times in a day, in which it took none of 24 keys", n)
		}
		r.chain.set(func() { r.chain.lose = 0 })
		pass(70 * time.Minute)
		if s := r.m.Snapshot().Status; s.Usable < 24 {
			t.Errorf("%d keys an hour after it takes them again, want all", s.Usable)
		}
	})
}

// A clock that was ahead for a while does not stop the making of keys until it
// is as late as it was.
func TestDueAfterClockWasAhead(t *testing.T) {
	now := time.Unix(1e9, 0)
	for ago, want := range map[time.Duration]bool{
		time.Hour: true, 59 * time.Minute: false, 0: false, -time.Minute: false, -2 * time.Hour: true, -8760 * time.Hour: true,
	} {
		if got := due([]*entry{{kind: TypeV1, created: now.Add(-ago).Unix()}}, now, time.Hour); got != want {
			t.Errorf("due with a key made %v ago = %v, want %v", ago, got, want)
		}
	}
}

// A registry has room for so many keys, and no more are made, by hand or by the hour.
func TestKeysAreBounded(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		pass(time.Second)
		for range maxKeys - 1 {
			if _, err := r.m.Generate(5); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.m.Generate(5); !errors.Is(err, errManyKeys) {
			t.Errorf("key %d: %v", maxKeys+1, err)
		}
		pass(2 * time.Hour)
		if n := len(r.publics()); n != maxKeys {
			t.Errorf("%d keys, want %d", n, maxKeys)
		}
	})
}

// A key ends at its second, whenever the memory of it is swept; one that is over
// is neither given out nor taken.
func TestKeyEnds(t *testing.T) {
	now := time.Unix(1e9, 0)
	f, err := NewFollower(FollowerConfig{Registry: contract.NewMemory(testRoot(t)), Now: func() time.Time { return now },
		Dial: func(context.Context, string) (net.Conn, *ratls.Peer, error) { return nil, nil, net.ErrClosed }})
	if err != nil {
		t.Fatal(err)
	}
	e := newEntry(TypeV1, now, time.Minute)
	list := func() []tl.KeyManagerPrivateKey {
		return []tl.KeyManagerPrivateKey{{ValidUntilUtime: int32(e.expires), PrivateKey: tl.Int256(e.seed)}}
	}
	taken := list()
	if f.take(taken); taken[0].PrivateKey != (tl.Int256{}) {
		t.Error("the key is left in the message")
	}
	m := &Manager{cfg: Config{Now: func() time.Time { return now }}, keys: []*entry{e, newEntry(5, now, time.Minute)}}
	for _, want := range []int{1, 0} {
		if _, ok := f.Private(e.public); ok != (want == 1) || f.Count() != want {
			t.Errorf("at %v the follower has it: %v, %d keys, want %d", now, ok, f.Count(), want)
		}
		if n := len(m.keysFor(Proxy).Keys); n != want {
			t.Errorf("at %v the key manager gives out %d keys, want %d: of type 1 that has not ended", now, n, want)
		}
		now = now.Add(time.Minute)
	}
	if f.take(list()); len(f.held) != 0 {
		t.Error("a key that is over was taken")
	}
}
