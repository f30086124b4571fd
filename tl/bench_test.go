package tl

import "testing"

func queryBench() *ClientRunQueryEx {
	m := request()
	m.Query = make([]byte, 1000)
	return m
}

func partBench() *ProxyQueryAnswerPartEx {
	return &ProxyQueryAnswerPartEx{Answer: make([]byte, 200)}
}

// TestAllocations keeps reading and writing on the hot path free of hidden
// allocations: the object itself, and its strings.
func TestAllocations(t *testing.T) {
	for _, test := range []struct {
		o    Object
		want float64
	}{{queryBench(), 2}, {partBench(), 1}, {&TCPPing{}, 1}} {
		b := Marshal(test.o)
		if got := testing.AllocsPerRun(100, func() { b = test.o.AppendTL(b[:0]) }); got != 0 {
			t.Errorf("%s: AppendTL allocates %v times, want 0", test.o.TLName(), got)
		}
		if got := testing.AllocsPerRun(100, func() { Decode(b) }); got > test.want {
			t.Errorf("%s: Decode allocates %v times, want %v", test.o.TLName(), got, test.want)
		}
	}
}

func BenchmarkClientRunQueryExEncode(b *testing.B)       { encode(b, queryBench()) }
func BenchmarkClientRunQueryExDecode(b *testing.B)       { decode(b, queryBench()) }
func BenchmarkProxyQueryAnswerPartExEncode(b *testing.B) { encode(b, partBench()) }
func BenchmarkProxyQueryAnswerPartExDecode(b *testing.B) { decode(b, partBench()) }

func encode(b *testing.B, o Object) {
	buf := make([]byte, 0, o.SizeTL())
	b.SetBytes(int64(o.SizeTL()))
	b.ReportAllocs()
	for b.Loop() {
		buf = o.AppendTL(buf[:0])
	}
}

func decode(b *testing.B, o Object) {
	buf := Marshal(o)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
