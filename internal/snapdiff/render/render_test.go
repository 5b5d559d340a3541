package render

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
)

var page = []*o3v1.DiffEntry{
	{Type: "-", SourcePath: "a"},
	{Type: "R", SourcePath: "b", TargetPath: "c"},
	{Type: "+", SourcePath: "d"},
	{Type: "M", SourcePath: "dir/ends/", Directory: false},
}

func TestText(t *testing.T) {
	var out strings.Builder
	text := NewText(&out, "s1", "s2")
	text.Entries(page[:2]...)
	text.Entries(page[2:]...)
	if err := text.End("token"); err != nil {
		t.Fatal(err)
	}
	want := "Difference between snapshot: s1 and snapshot: s2\n" +
		"-\t./a\nR\t./b -> ./c\n+\t./d\nM\t./dir/ends/\nNext token: token\n"
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
	out.Reset()
	if err := NewText(&out, "s1", "").End(""); err != nil || out.String() != "Difference between snapshot: s1 and snapshot: live bucket\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is gone") }

func TestTextFault(t *testing.T) {
	text := NewText(broken{}, "s1", "s2")
	text.Entries(page...)
	if err := text.End(""); err == nil {
		t.Error("a failed write was not reported")
	}
}

func TestJSON(t *testing.T) {
	for _, c := range []struct {
		name  string
		job   *o3v1.DiffJob
		page  []*o3v1.DiffEntry
		token string
		want  string
	}{
		{
			"done", &o3v1.DiffJob{Volume: "v", Bucket: "b", From: "s1", To: "s2", State: o3v1.DiffState_DIFF_STATE_DONE, Percent: 100, Phase: "x"},
			page, "t",
			`{"snapshotDiffReport":{"volumeName":"v","bucketName":"b","fromSnapshot":"s1","toSnapshot":"s2","diffList":[` +
				`{"diffType":"-","sourcePath":"./a"},{"diffType":"R","sourcePath":"./b","targetPath":"./c"},` +
				`{"diffType":"+","sourcePath":"./d"},{"diffType":"M","sourcePath":"./dir/ends/"}],"nextToken":"t"},"jobStatus":"DONE"}`,
		},
		{
			"running", &o3v1.DiffJob{Volume: "v", Bucket: "b", From: "s1", State: o3v1.DiffState_DIFF_STATE_IN_PROGRESS, Phase: "PATH_RESOLUTION", WaitMs: 1000},
			nil, "",
			`{"snapshotDiffReport":{"volumeName":"v","bucketName":"b","fromSnapshot":"s1","toSnapshot":"","diffList":[]},` +
				`"jobStatus":"IN_PROGRESS","waitTimeInMs":1000,"subStatus":"PATH_RESOLUTION","progressPercent":0}`,
		},
		{
			"failed", &o3v1.DiffJob{State: o3v1.DiffState_DIFF_STATE_FAILED, Reason: "why"}, nil, "",
			`{"snapshotDiffReport":{"volumeName":"","bucketName":"","fromSnapshot":"","toSnapshot":"","diffList":[]},"jobStatus":"FAILED","reason":"why"}`,
		},
	} {
		got, err := json.Marshal(JSON(c.job, c.page, c.token))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", c.name, err, got, c.want)
		}
	}
}
