package ledger

import "testing"

func TestMost(t *testing.T) {
	dear := Multipliers{10000, 1000, 80000, 80000}
	for _, x := range []struct {
		max, answers int64
		bytes        int
		coefficient  int64
		want         int64
	}{
		{100, 1, 200, 1000, 200 + PromptSlack + 800},
		{100, 3, 200, 1000, 200 + PromptSlack + 2400},
		{100, 0, 200, 2000, 2 * (200 + PromptSlack + 800)},
		{0, 1, 0, 1000, PromptSlack},
		{-1, 1, 10, 1000, 0},
		{1 << 62, 1 << 20, 1 << 40, 4000, 1 << 60},
	} {
		if got := Most(x.max, x.answers, x.bytes, x.coefficient, dear); got != x.want {
			t.Errorf("Most(%d, %d, %d, %d) = %d, want %d", x.max, x.answers, x.bytes, x.coefficient, got, x.want)
		}
	}
	if need, _ := Need(1000, 50, 4000); Most(1000, 1, 50, 4000, Multipliers{1, 1, 1, 1}) < need {
		t.Error("Most is below what is set aside")
	}
}
