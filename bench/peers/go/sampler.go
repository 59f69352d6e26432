package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
)

// randomBits is how many bits of a trace id OpenTelemetry's consistent probability sampling takes for random.
const randomBits = 56

// policy decides for all paths with one prefix.
type policy struct {
	name      string
	prefix    string
	ratio     float64
	threshold uint64
}

// sampler is the list of policies, in order, and the one for what none matches.
type sampler struct {
	policies []policy
	fallback policy
}

// decision is what a sampler found about a request.
type decision struct {
	policy *policy
	reason string
	keep   bool
}

func newSampler(services int, ratio float64) *sampler {
	s := &sampler{fallback: newPolicy("default", "/", ratio)}
	for n := range services {
		s.policies = append(s.policies, newPolicy(fmt.Sprintf("service-%d", n), fmt.Sprintf("/api/service-%d/", n), ratio))
	}
	return s
}

func newPolicy(name, prefix string, ratio float64) policy {
	threshold := uint64(math.Round((1 - ratio) * (1 << randomBits)))
	return policy{name: name, prefix: prefix, ratio: ratio, threshold: threshold}
}

// decide follows a parent's decision, and takes one for a trace that begins here.
func (s *sampler) decide(path, traceparent string, parent bool) decision {
	matched := s.match(path)
	reason := "policy"
	if matched == &s.fallback {
		reason = "default"
	}
	random, sampled, ok := readTraceparent(traceparent)
	switch {
	case !ok:
		return decision{policy: matched, reason: reason}
	case parent:
		return decision{policy: matched, reason: "parent", keep: sampled}
	default:
		return decision{policy: matched, reason: reason, keep: random >= matched.threshold}
	}
}

func (s *sampler) match(path string) *policy {
	for i := range s.policies {
		if strings.HasPrefix(path, s.policies[i].prefix) {
			return &s.policies[i]
		}
	}
	return &s.fallback
}

// readTraceparent reads the random part of the trace id and the sampled flag from version-traceid-parentid-flags.
func readTraceparent(text string) (random uint64, sampled, ok bool) {
	parts := strings.Split(text, "-")
	if len(parts) != 4 || len(parts[1]) != 32 || len(parts[3]) != 2 {
		return 0, false, false
	}
	var id [16]byte
	if _, err := hex.Decode(id[:], []byte(parts[1])); err != nil {
		return 0, false, false
	}
	var flags [1]byte
	if _, err := hex.Decode(flags[:], []byte(parts[3])); err != nil {
		return 0, false, false
	}
	return binary.BigEndian.Uint64(id[8:]) & (1<<randomBits - 1), flags[0]&1 == 1, true
}
