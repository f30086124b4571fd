package tl

import (
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// everyType returns one object of each constructor with a Go type, with all
// fields set.
func everyType(t testing.TB) (out []Object) {
	t.Helper()
	var base struct{ Entries []struct{ ID string } }
	var current struct{ Current map[string]string }
	readJSON(t, "tl_ids.json", &base)
	readJSON(t, "current/tl_ids.json", &current)
	seen := map[uint32]bool{}
	add := func(text string) {
		id, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		if o := empty(uint32(id)); o != nil && !seen[uint32(id)] {
			seen[uint32(id)] = true
			populate(reflect.ValueOf(o).Elem(), rand.New(rand.NewPCG(id, 1)))
			out = append(out, o)
		}
	}
	for _, e := range base.Entries {
		add(e.ID)
	}
	for _, id := range current.Current {
		add(id)
	}
	return out
}

// populate sets every field; flags get all bits that may be set.
func populate(v reflect.Value, rnd *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			populate(v.Field(i), rnd)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+rnd.IntN(3), 4))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			populate(v.Index(i), rnd)
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(member(v.Type(), rnd)))
	case reflect.String:
		v.SetString(strings.Repeat("s", rnd.IntN(300)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(rnd.IntN(256)))
	case reflect.Uint32:
		v.SetUint(1<<31 - 1)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(int32(rnd.Uint32())))
	case reflect.Float64:
		v.SetFloat(rnd.Float64())
	default:
		panic("field of kind " + v.Kind().String())
	}
}

// member returns a populated constructor of the class.
func member(class reflect.Type, rnd *rand.Rand) Object {
	for _, o := range []Object{
		new(ProxySignedPayment), new(ClientProxyConnectionAuthShort), new(RootConfigConfigV7),
	} {
		if reflect.TypeOf(o).Implements(class) {
			populate(reflect.ValueOf(o).Elem(), rnd)
			return o
		}
	}
	panic("no constructor of " + class.String())
}

func TestEveryType(t *testing.T) {
	all := everyType(t)
	if want := 98 + 11; len(all) != want { // first release, and new or changed since
		t.Errorf("%d types, want %d", len(all), want)
	}
	for _, o := range all {
		if got := mustRoundTrip(t, Marshal(o)); !reflect.DeepEqual(got, o) {
			t.Errorf("%s comes back as\n%#v, want\n%#v", o.TLName(), got, o)
		}
	}
}
