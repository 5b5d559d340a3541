package s3target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"o3/internal/errs"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]Place{
		"s3://backups":        {Bucket: "backups"},
		"s3://backups/":       {Bucket: "backups"},
		"S3://backups/a/b//":  {Bucket: "backups", Prefix: "a/b/"},
		"s3://my.b-1/a%20b/c": {Bucket: "my.b-1", Prefix: "a b/c/"},
		"s3://backups/om1?endpoint=https://s3.example.org:9000/&region=eu-1&path-style=false&checksum=sha256&lock=off": {
			Bucket: "backups", Prefix: "om1/", Endpoint: "https://s3.example.org:9000", Region: "eu-1", Style: "false", Checksum: "sha256", Unlocked: true},
		"s3://backups?endpoint=http%3A%2F%2F127.0.0.1%3A9878&path-style=true&lock=on": {
			Bucket: "backups", Endpoint: "http://127.0.0.1:9878", Style: "true", PathStyle: true},
	} {
		got, err := Parse(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
		if again, err := Parse(got.URL()); err != nil || again != want {
			t.Errorf("%s: again as %s: %+v, %v", in, got.URL(), again, err)
		}
	}
}

// TestParseRefuses: what is wrong is refused, and not repeated where it could
// hold a secret.
func TestParseRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"/backup":                        "form",
		"s3:/backups":                    "form",
		"s3://":                          "name of a bucket",
		"s3:///prefix":                   "name of a bucket",
		"s3://ab":                        "name of a bucket",
		"s3://Backups":                   "name of a bucket",
		"s3://host:9878/bucket":          "a host goes into ?endpoint=",
		"s3://KEY:HUSH@backups/x":        "keys do not belong in it",
		"s3://HUSH@backups/x":            "keys do not belong in it",
		"s3://KEY:HUSH%zz@backups/x":     "form",
		"s3://backups/x?secret-key=HUSH": "never keys",
		"s3://backups/x?AWS_SECRET_ACCESS_KEY=HUSH":  "never keys",
		"s3://backups/x?HUSH":                        "never keys",
		"s3://backups/x?region=a;HUSH=1":             "malformed",
		"s3://backups/x?endpoint=https://KEY:HUSH@h": "parameter endpoint",
		"s3://backups/x?endpoint=s3.example.org":     "http:// or https://",
		"s3://backups/x?endpoint=ftp://h":            "http:// or https://",
		"s3://backups/x?endpoint=http://h/?a=HUSH":   "parameter endpoint",
		"s3://backups/x?region=HUSH%20":              "a region has",
		"s3://backups/x?region=a&region=b":           "twice",
		"s3://backups/x?path-style=HUSH":             "true, false",
		"s3://backups/x?checksum=md5":                "crc64nvme, sha256, none",
		"s3://backups/x?lock=HUSH":                   "on, off",
		"s3://backups/a/../b":                        "none of dots only",
		"s3://backups/a//b":                          "no empty part",
		"s3://backups/a%00b":                         "printable",
		"s3://backups/a#b":                           "%23",
		"s3://backups/" + strings.Repeat("a", 600):   "512 bytes",
	} {
		_, err := Parse(in)
		if errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "HUSH") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// TestCredentials: where keys come from, in this order.
func TestCredentials(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, ".aws", "credentials")
	text := "# of a test\n[default]\naws_access_key_id = FILE\naws_secret_access_key=filesecret\n\n[ other ]\naws_access_key_id=OTHER\naws_secret_access_key = othersecret\naws_session_token=tok=en\n"
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    Options
		env  map[string]string
		want string // "" means none
	}{
		{"given", Options{AccessKey: "GIVEN", SecretKey: "s"}, map[string]string{"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "e"}, "GIVEN/s/"},
		{"environment", Options{}, map[string]string{"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "e", "AWS_SESSION_TOKEN": "t", "HOME": home}, "ENV/e/t"},
		{"file", Options{}, map[string]string{"HOME": home}, "FILE/filesecret/"},
		{"profile", Options{}, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "other"}, "OTHER/othersecret/tok=en"},
		{"no such profile", Options{}, map[string]string{"HOME": home, "AWS_PROFILE": "none"}, ""},
		{"half", Options{}, map[string]string{"AWS_ACCESS_KEY_ID": "ENV", "HOME": home}, ""},
		{"none", Options{}, nil, ""},
		{"no such file", Options{}, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file + "x"}, ""},
	} {
		c.o.Place = Place{Bucket: "backups"}
		c.o.Getenv = func(name string) string { return c.env[name] }
		at, err := New(c.o)
		if c.want == "" {
			if k := errs.KindOf(err); k != errs.Unauthenticated && k != errs.Invalid {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		keys, err := at.client.Options().Credentials.Retrieve(t.Context())
		if got := keys.AccessKeyID + "/" + keys.SecretAccessKey + "/" + keys.SessionToken; err != nil || got != c.want {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
}

// TestEnvironment: endpoint and region come from the environment too, and the URL
// comes first.
func TestEnvironment(t *testing.T) {
	env := map[string]string{"AWS_ENDPOINT_URL": "http://b", "AWS_DEFAULT_REGION": "r2", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
	o := Options{Place: Place{Bucket: "backups"}, Getenv: func(name string) string { return env[name] }}
	if p := o.withDefaults().Place; p.Endpoint != "http://b" || p.Region != "r2" || !p.PathStyle {
		t.Errorf("%+v", p)
	}
	env["AWS_ENDPOINT_URL_S3"], env["AWS_REGION"] = "http://a", "r1"
	if p := o.withDefaults().Place; p.Endpoint != "http://a" || p.Region != "r1" {
		t.Errorf("%+v", p)
	}
	o.Place.Endpoint, o.Place.Region, o.Place.Style = "http://c", "r3", "false"
	if p := o.withDefaults().Place; p.Endpoint != "http://c" || p.Region != "r3" || p.PathStyle {
		t.Errorf("%+v", p)
	}
	env["AWS_CA_BUNDLE"] = filepath.Join(t.TempDir(), "none.pem")
	if _, err := New(o); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "none.pem") {
		t.Errorf("%v", err)
	}
	if p := (Options{Place: Place{Bucket: "b"}}).withDefaults().Place; p.Endpoint != "" || p.Region != "us-east-1" || p.PathStyle {
		t.Errorf("%+v", p)
	}
}
