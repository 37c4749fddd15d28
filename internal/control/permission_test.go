package control

import (
	"fmt"
	"strings"
	"testing"

	"hearth/internal/policy"
)

// TestPolicyGrowsToItsLimit adds statements until AWS's size is reached; what
// was added stays.
func TestPolicyGrowsToItsLimit(t *testing.T) {
	st := start(t, Config{})
	st.mustCreate(t, "hi", "one")
	var err error
	added := 0
	for ; err == nil && added < 200; added++ {
		_, err = st.Permit(t.Context(), account, "hi", "", "", policy.Permission{
			StatementID: strings.Repeat("x", 90) + fmt.Sprint(added), Action: "lambda:InvokeFunction", Principal: "*",
		})
	}
	wantCode(t, err, "PolicyLengthExceededException", "The final policy size is bigger than the limit (20480).")
	p, err := st.Policy(t.Context(), account, "hi", "")
	if err != nil || strings.Count(p.Document, `"Sid"`) != added-1 || len(p.Document) > maxPolicy {
		t.Errorf("%d statements in %d bytes, %v; want %d", strings.Count(p.Document, `"Sid"`), len(p.Document), err, added-1)
	}
}
