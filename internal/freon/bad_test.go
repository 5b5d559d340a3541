package freon_test

import (
	"bytes"
	"strings"
	"testing"

	"o3/internal/cli"
)

// TestBadInput: what cannot be meant is refused before any load, with the
// reason.
func TestBadInput(t *testing.T) {
	s3 := newFakeS3(t)
	for _, c := range []struct{ line, want string }{
		{"s3put --threads 0", "--threads 0: it must be from 1 to 4096"},
		{"s3put --threads 4097", "--threads 4097: it must be from 1 to 4096"},
		{"s3put --threads x", "--threads: expected a valid 64 bit int"},
		{"s3put --duration=-1s", "--duration -1s: it must be at most 24h"},
		{"s3put --duration 25h", "--duration 25h0m0s: it must be at most 24h"},
		{"s3put --duration soon", "--duration: expected duration"},
		{"s3put --count=-1", "--count -1: it must be from 0 to 1000000000"},
		{"s3put --count 1000000001", "--count 1000000001: it must be"},
		{"s3put --warmup=-1s", "--warmup -1s: it must be at most 24h"},
		{"s3put --rate=-1", "--rate -1: it must be from 0 to 10000000"},
		{"s3put --rate NaN", "--rate NaN: it must be from 0 to 10000000"},
		{"s3put --rate 1e8", "--rate 1e+08: it must be from 0 to 10000000"},
		{"s3put --prefix " + strings.Repeat("p", 801), "it must be at most 800 bytes"},
		{"s3put --dirs=-1", "--dirs -1: it must be from 0 to 1000000"},
		{"s3put --start 2000000000", "--start 2000000000: it must be at most 1000000000"},
		{"s3put --start=-1", "--start: expected a valid 64 bit uint"},
		{"s3put --max-errors=-1", "--max-errors -1: it must be 0 or more"},
		{"s3put --request-timeout 0s", "--request-timeout 0s: it must be more than 0"},
		{"s3put --server-pid=-1", "--server-pid -1: it must be a process id"},
		{"s3put --server-pid 1 --server-metrics http://127.0.0.1:1/", "only one of them can be given"},
		{"s3put -n 1 --server-pid 999999999", "no such process on this machine"},
		{"s3put -n 1 --server-metrics http://127.0.0.1:1/metrics", "connection refused"},
		{"s3put -n 1 --server-metrics " + s3.url + "/metrics", "it answers 403"},
		{"s3put --size 6GB", `"6GB" is not a size or a range`},
		{"s3put --size 2KB-1KB", `"2KB-1KB" is not a size or a range`},
		{"s3put --size big", `"big" is not a size`},
		{"s3put --size 1KB-", `"" is not a size`},
		{"s3put --data text", "--data must be one of"},
		{"s3put --keys=-1", "--keys -1: it must be from 0 to 1000000000"},
		{"s3put --bucket=", "it must be the name of a bucket"},
		{"s3put --bucket a/b", "it must be the name of a bucket"},
		{"s3put --endpoint 127.0.0.1:9878", "it must be the URL of an S3 server"},
		{"s3put --endpoint ftp://127.0.0.1", "it must be the URL of an S3 server"},
		{"s3put --endpoint http://a:b@127.0.0.1", "it must be the URL of an S3 server"},
		{"s3put --endpoint http://127.0.0.1/?x=y", "it must be the URL of an S3 server"},
		{"s3put extra", "unexpected argument extra"},
		{"s3get --keys 0", "--keys 0: it must be from 1 to 1000000000"},
		{"s3list --page 0", "--page 0: it must be from 1 to 1000"},
		{"s3list --page 1001", "--page 1001: it must be from 1 to 1000"},
		{"s3mixed --mix put", `"put" is not a mix`},
		{"s3mixed --mix put=-1", `"put=-1" is not a mix`},
		{"s3mixed --mix put=1,take=2", `"take" is no operation: there are put, get, head, list, delete`},
		{"s3mixed --mix put=0", "one weight at least must not be 0"},
		{"omkg --inline 2MB", "--inline 2MB: it must be at most 1MB"},
		{"omlist --page 0", "--page 0: it must be from 1 to 1000"},
		{"ommixed --mix put=1", `"put" is no operation: there are create, lookup, list, delete`},
		{"s3putt", `there are`},
	} {
		var out, stderr bytes.Buffer
		args := strings.Fields(c.line)
		if !strings.Contains(c.line, "--endpoint") && strings.HasPrefix(c.line, "s3") {
			args = append(args, "--endpoint", s3.url)
		}
		code := runFreon(t.Context(), []string{"O3_ACCESS_KEY=" + fakeKey, "O3_SECRET_KEY=" + fakeSecret}, args, &out, &stderr)
		if code != cli.ExitUsage || !strings.Contains(stderr.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d: %s%s\nwant: %s", c.line, code, &stderr, &out, c.want)
		}
	}
	if names := s3.names("freon"); len(names) > 0 {
		t.Errorf("load was made: %v", names)
	}
}
