package ledger

// PromptSlack is what a prompt may hold beyond the bytes of its request: the
// template's own words, and images fetched by address. Workers allow as much.
const PromptSlack = 64 << 10

// Most is the highest total that can be believed of a request, whatever its
// worker and its proxy say: a token for each byte of the question, with some
// slack, and the answer's limit for each of the answers asked for, all in the dearest class. It is
// at least what [Need] sets aside.
func Most(maxTokens, answers int64, queryBytes int, maxCoefficient int64, m Multipliers) int64 {
	need, err := Need(maxTokens, queryBytes, maxCoefficient)
	if err != nil {
		return 0
	}
	in := Tokens(add(int64(queryBytes), PromptSlack), maxCoefficient, max(m.Prompt, m.Cached))
	out := Tokens(times(maxTokens, max(answers, 1)), maxCoefficient, max(m.Completion, m.Reasoning))
	return min(max(need, add(in, out)), 1<<60)
}

// times never wraps.
func times(a, b int64) int64 {
	if a > 0 && b > (1<<62)/a {
		return 1 << 62
	}
	return a * b
}
