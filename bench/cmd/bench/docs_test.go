package main

import "testing"

func TestReplace(t *testing.T) {
	const doc = "a\n<!-- bench:x begin -->\nold\n<!-- bench:x end -->\nb\n"
	once, err := replace(doc, "x", "new\n")
	if want := "a\n<!-- bench:x begin -->\n\nnew\n\n<!-- bench:x end -->\nb\n"; err != nil || once != want {
		t.Fatalf("%q, %v", once, err)
	}
	if twice, err := replace(once, "x", "new"); err != nil || twice != once {
		t.Errorf("%q, %v", twice, err)
	}
	for _, name := range []string{"y", ""} {
		if _, err := replace(doc, name, "new"); err == nil {
			t.Errorf("a section %q was found", name)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, bad := range [][]string{
		{"s3", "--clients", "0"}, {"s3", "--clients", "1,x"}, {"s3", "--duration", "2m"}, {"s3", "--duration", "0s"},
		{"s3", "--rounds", "0"}, {"namespace", "--keys", "999"}, {"namespace", "--keys", "10000001"}, {"s3", "--warmup", "-1s"},
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
