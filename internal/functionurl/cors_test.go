package functionurl

import (
	"net/http/httptest"
	"reflect"
	"testing"

	"hearth/internal/function"
)

func TestAllowCORS(t *testing.T) {
	listed := &function.CORS{
		AllowOrigins: []string{"https://a.example", "https://b.example:8443"}, AllowMethods: []string{"GET", "POST"},
		AllowHeaders: []string{"Date", "X-Mine"}, ExposeHeaders: []string{"Date", "Keep-Alive"}, MaxAge: new(300),
	}
	all := &function.CORS{AllowOrigins: []string{"*"}, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"}}
	withCredentials := &function.CORS{AllowOrigins: []string{"*"}, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"}, AllowCredentials: new(true), MaxAge: new(0)}
	const preflight, get = "OPTIONS", "GET"
	for _, tt := range []struct {
		name   string
		cors   *function.CORS
		method string
		sent   []string
		want   []string
	}{
		{"no setting", nil, get, []string{"Origin", "https://a.example"}, nil},
		{"no origin", listed, get, nil, []string{"Vary", "Origin"}},
		{"listed", listed, get, []string{"Origin", "https://a.example"}, []string{"Vary", "Origin", allowOrigin, "https://a.example", exposeHeaders, "Date,Keep-Alive"}},
		{"case", listed, get, []string{"Origin", "HTTPS://B.example:8443"}, []string{"Vary", "Origin", allowOrigin, "HTTPS://B.example:8443", exposeHeaders, "Date,Keep-Alive"}},
		{"other port", listed, get, []string{"Origin", "https://b.example"}, []string{"Vary", "Origin"}},
		{"suffix", listed, get, []string{"Origin", "https://a.example.evil"}, []string{"Vary", "Origin"}},
		{"null", listed, get, []string{"Origin", "null"}, []string{"Vary", "Origin"}},
		{"preflight", listed, preflight, []string{"Origin", "https://a.example", requestMethod, "DELETE", requestHeaders, "x-other"},
			[]string{"Vary", "Origin", allowOrigin, "https://a.example", allowMethods, "GET,POST", allowHeaders, "Date,X-Mine", maxAge, "300"}},
		{"preflight of another", listed, preflight, []string{"Origin", "https://c.example", requestMethod, "GET"}, []string{"Vary", "Origin"}},
		{"plain OPTIONS", listed, preflight, []string{"Origin", "https://a.example"}, []string{"Vary", "Origin", allowOrigin, "https://a.example", exposeHeaders, "Date,Keep-Alive"}},
		{"everyone", all, get, []string{"Origin", "https://c.example"}, []string{"Vary", "Origin", allowOrigin, "*"}},
		{"everyone's preflight", all, preflight, []string{"Origin", "https://c.example", requestMethod, "PATCH", requestHeaders, "a,b"},
			[]string{"Vary", "Origin", allowOrigin, "*", allowMethods, "PATCH", allowHeaders, "a,b"}},
		{"everyone with credentials", withCredentials, preflight, []string{"Origin", "https://c.example", requestMethod, "PATCH"},
			[]string{"Vary", "Origin", allowOrigin, "https://c.example", allowCredentials, "true", allowMethods, "PATCH", allowHeaders, "*", maxAge, "0"}},
		{"nobody", &function.CORS{AllowMethods: []string{"*"}}, get, []string{"Origin", "https://c.example"}, []string{"Vary", "Origin"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/", nil)
			r.Header = header(tt.sent...)
			got := header()
			AllowCORS(tt.cors, r, got)
			if want := header(tt.want...); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestKeepCORS(t *testing.T) {
	all := []string{allowOrigin, "*", allowCredentials, "true", allowMethods, "*", allowHeaders, "*", exposeHeaders, "*", maxAge, "9", "X", "y"}
	for _, tt := range []struct {
		cors *function.CORS
		want []string
	}{
		{nil, all},
		{&function.CORS{AllowOrigins: []string{"https://a.example"}, AllowCredentials: new(false)}, []string{allowMethods, "*", allowHeaders, "*", exposeHeaders, "*", maxAge, "9", "X", "y"}},
		{&function.CORS{AllowMethods: []string{"GET"}, AllowHeaders: []string{"a"}, ExposeHeaders: []string{"a"}, MaxAge: new(0)}, []string{allowOrigin, "*", allowCredentials, "true", "X", "y"}},
	} {
		h := header(all...)
		KeepCORS(tt.cors, h)
		if want := header(tt.want...); !reflect.DeepEqual(h, want) {
			t.Errorf("%+v: got %v, want %v", tt.cors, h, want)
		}
	}
}
