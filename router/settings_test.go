package router_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/router"
)

// file reads the two members of a configuration file.
func file(text string) (router.Settings, router.Problems) {
	var s router.Settings
	var members struct{ Policies, Ports json.RawMessage }
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return s, router.Problems{err.Error()}
	}
	var policies []router.Policy
	var ports []router.Port
	var p, q router.Problems
	if members.Policies != nil {
		policies, p = router.ParsePolicies(members.Policies)
	}
	if members.Ports != nil {
		ports, q = router.ParsePorts(members.Ports)
	}
	return s, append(append(p, q...), s.AddFile(policies, ports)...)
}

func TestFiles(t *testing.T) {
	r := func(b string) string { return strings.Repeat(b, 48) }
	s, p := file(`{
		"policies": [
			{"name": "old", "type": "tdx", "description": "x", "tdx_config": {
				"allowed_mrtd": ["` + r("01") + `"], "allowed_rtmr": [["` + r("02") + `","` + r("03") + `","` + r("04") + `","` + r("05") + `"]],
				"allowed_image_hashes": "` + h("06") + `", "allowed_image_hash": "` + h("07") + `",
				"allowed_collateral_root_hashes": ["` + r("08") + `"]}},
			{"name": "new", "type": "tee", "ratls_policy": {
				"tdx_config": {"allowed_image_hashes": ["` + h("09") + `"]},
				"sev_config": {"allowed_measurement": ["` + r("0a") + `"], "allowed_image_id": ["` + h("0b") + `"]}}}
		],
		"ports": [
			{"port": 8116, "type": "socks5", "policy_name": "old", "allow_policy_from_username": true, "max_pow_difficulty": 30},
			{"port": 11001, "type": "reverse", "policy_name": "new", "destination_host": "127.0.0.1", "destination_port": 11101,
			 "serialize_info": true, "pow_difficulty": 0}
		]}`)
	if p != nil {
		t.Fatal(p)
	}
	if got, want := describe(&s), "old tdx [06 07] [] new tee [09] [0b] | 8116 socks5 old 11001 reverse new 127.0.0.1 11101 record"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	old, current := s.Policies[0], s.Policies[1]
	if old.MRTD[0][0] != 1 || old.RTMR[0][3][47] != 5 || old.RootKeys[0][0] != 8 || current.SNPMeasurements[0][0] != 0x0a {
		t.Errorf("lists %+v", s.Policies)
	}
	if a, b := s.Ports[0], s.Ports[1]; !a.PolicyFromUser || *a.MaxDifficulty != 30 || a.Difficulty != nil || *b.Difficulty != 0 || a.Record {
		t.Errorf("ports %+v", s.Ports)
	}
}

// The command line counts more than the file, as at the deployed router.
func TestPrecedence(t *testing.T) {
	s := settings(t, "-P a:any", "-P tdx:tdx:"+h(hashA), "-S 8116@a")
	p := s.AddFile(
		[]router.Policy{{Name: "a", Type: "tdx"}, {Name: "b", Type: "any"}, {Name: "tdx", Type: "any"}},
		[]router.Port{{Port: 9000, Type: "socks5", Policy: "b"}},
	)
	if got, want := describe(&s), "a any [] [] tdx tdx [11] [] b any [] [] | 8116 socks5 a"; got != want || p != nil {
		t.Errorf("%s, %v, want %s", got, p, want)
	}
	if p := (&router.Settings{}).AddFile([]router.Policy{{Name: "any", Type: "tdx"}}, nil); len(p) != 1 || !strings.Contains(p[0], "built in") {
		t.Errorf("a file's policy with a built-in name: %v", p)
	}
}

func TestFileRefusals(t *testing.T) {
	_, p := file(`{
		"policies": [
			{"nam": "x", "type": 7},
			{"name": "a", "type": "tdx", "ratls_policy": {}},
			{"name": "b", "type": "tee", "tdx_config": {}},
			{"name": "c", "type": "any", "tdx_config": {"allowed_mrtd": "00", "allowed_rtmr": [["00"], []], "allowed_image_hashes": ["xx", 3], "parameters": 1}},
			{"name": "d", "name": "e", "type": "any", "insecure_empty_list": "yes"},
			{"name": "f", "type": "any"}, {"name": "f", "type": "any"},
			{"name": "g", "type": "tee", "ratls_policy": {"sev_config": {"allowed_image_id": "00", "allowed_image_hashes": []}, "sgx_config": {}}},
			[]
		],
		"ports": [{"port": "8116", "typ": "socks5", "serialize_info": 1, "pow_difficulty": "much"}, {"port": 1.5}]}`)
	all := strings.Join(p, "\n")
	for _, want := range []string{
		"policies[0].nam: unknown key", "policies[0].type: want a string", "policies[0]: name: missing",
		"policies[1]: ratls_policy belongs to policies of type tee", "policies[2]: tdx_config belongs to policies of type tdx",
		"policies[3].tdx_config.allowed_mrtd: want a list", `policies[3].tdx_config.allowed_rtmr[0][0]: "00" is not 96`,
		"policies[3].tdx_config.allowed_rtmr[1]: 0 registers, want 4", `policies[3].tdx_config.allowed_image_hashes[0]: "xx" is not 64`,
		"policies[3].tdx_config.allowed_image_hashes[1]: want a string in hexadecimal", "policies[3].tdx_config.parameters: unknown key",
		"policies[4].name: the key occurs twice", "policies[4].insecure_empty_list: want true or false", "policy f: the name occurs twice",
		"policies[7].ratls_policy.sev_config.allowed_image_id: want a list", "policies[7].ratls_policy.sev_config.allowed_image_hashes: unknown key",
		"policies[7].ratls_policy.sgx_config: unknown key", "policies[8]: want an object",
		"ports[0].port: want a whole number", "ports[0].typ: unknown key", "ports[0].serialize_info: want true or false",
		"ports[0].pow_difficulty: want a whole number", "ports[1].port: want a whole number",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(all)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`[{"name":"a","type":"tdx","tdx_config":{"allowed_rtmr":[["00"]]}}]`))
	f.Add([]byte(`[{"port":1,"type":"reverse","policy_name":"any","destination_host":"h","destination_port":2}]`))
	f.Add([]byte(`[{"a":{"a":[[[{`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		policies, p := router.ParsePolicies(raw)
		ports, q := router.ParsePorts(raw)
		s := &router.Settings{}
		s.AddFile(policies, ports)
		err := s.Check()
		if err == nil && len(p)+len(q) == 0 && len(ports) == 0 {
			t.Errorf("%q: sound without ports", raw)
		}
		_ = fmt.Sprint(err)
	})
}
