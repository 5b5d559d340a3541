package web

import (
	"fmt"
	"reflect"
	"strings"
)

// Document returns the page of the documentation (docs/recon-api.md), made from
// the table of routes.
func Document() string {
	var b strings.Builder
	b.WriteString(preamble)
	b.WriteString("\n## Routes\n\n| | | Role | |\n|---|---|---|---|\n")
	all := routes()
	for _, r := range all {
		own := ""
		if r.ours {
			own = " (O3's own)"
		}
		fmt.Fprintf(&b, "| %s | [`%s%s`](#%s) | %s | %s%s |\n", r.method, Prefix, r.path, strings.ToLower(r.id()), r.role, r.summary, own)
	}
	seen := map[string]bool{}
	for _, r := range all {
		r.document(&b, seen)
	}
	return b.String()
}

const preamble = `# Recon's API

Generated from the table of routes in internal/recon/web; ` + "`go test ./internal/recon/web -update`" + ` writes it anew.

Paths, parameters and JSON are those of Apache Ozone's Recon, so that its clients work; what is O3's own is marked. The same as an OpenAPI
document: ` + "`GET /api/v1/openapi.json`" + `.

- **One index.** Every answer is of one entry of the OM's log: header ` + "`X-O3-Index`" + `. ` + "`X-O3-Age-Ms`" + ` says how old it may be. Answers that Ozone does
  not have say both in ` + "`index`" + ` and ` + "`ageMs`" + ` too.
- **Never blank.** While there is nothing to answer from: 503 with ` + "`Retry-After`" + ` and the reason, never an empty list. A rebuild or a full sync answers
  from the generation before.
- **Bounded.** A page has at most 10,000 rows (` + "`limit=-1`" + ` means that many), and at most 100,000 rows are looked at for it; it then ends early, and
  its cursor leads on. The page without a cursor is the last. Cursors of Ozone's lists are ` + "`lastKey`" + ` (` + "`prevKey`" + ` of ` + "`/containers`" + `), to be given as
  ` + "`prevKey`" + `; O3's own are ` + "`cursor`" + `. They stay good while things change, and when Recon switches generations. Sums over all buckets are refused
  (422) beyond 200,000 volumes and buckets.
- **CSV.** Lists also come as comma-separated values: ` + "`?format=csv`" + ` or ` + "`Accept: text/csv`" + `. A text that a spreadsheet would take for a formula gets a
  quote before it. The next page is in the header ` + "`X-O3-Last-Key`" + ` (percent-encoded).
- **Errors** are JSON: ` + "`{kind, subject, detail, status}`" + `. 400: a parameter that is not known or whose value is not allowed, with its name, the value and
  what is allowed; 401, 403: who asks may not; 404: a volume or bucket that a list is asked of is not there; 503: see above. ` + "`/namespace/…`" + ` tell of an absent
  path by ` + "`status`" + `, as in Ozone.
- **Roles.** ` + "`reader`" + `: admins, as in Ozone, or every user where the configuration says so; ` + "`admin`" + `: admins;
  ` + "`user`" + `: every user.

- **HEAD** answers as GET without the body, but where GET has something done.

## What differs from Ozone

- Replication is not the namespace's affair in O3: sizes with replicas are the sizes, and every key is ` + "`STAND_ALONE`/`ONE`" + `.
- Counts have 64 bits. Directory counts and size distributions are kept per directory and never walked for.
- A directory that was deleted counts in no total of what it was in, from then on; its keys stay in the counts of tables (` + "`keys`" + ` of ` + "`/clusterState`" + `,
  ` + "`/utilization/fileCount`" + `, ` + "`/insights/age`" + `) until they are purged, and are ` + "`pendingDirectorySize`" + ` meanwhile.
- ` + "`/keys/deletePending`" + ` lists blocks that wait to be freed. What a snapshot still sees has no row there: it is held, not pending, and shown as such in
  ` + "`/pendingDeletion`" + ` and ` + "`/snapshots`" + `. The rows do not have the names of the keys.
- ` + "`/utilization/fileCount`" + ` takes ` + "`fileSize`" + ` with or without a volume and bucket; a size that is no bin's is refused, with those that are.
- ` + "`/namespace/usage`" + ` has ` + "`lastKey`" + ` when not all sub-paths were looked at; ` + "`/volumes`" + ` and ` + "`/buckets`" + ` have it when there are more, and their
  ` + "`totalCount`" + ` is of all there are.
- Names that the notes on Ozone do not fix and that were chosen in its style: the fields of ` + "`omKeyInfoList`" + `, ` + "`pending…`" + ` and ` + "`snapshot…`" + ` of
  ` + "`/pendingDeletion`" + ` beyond its three sizes, ` + "`snapshots`" + ` of ` + "`/clusterState`" + `, ` + "`snapshotUsedNamespace`" + ` of buckets.

Absent, because O3 has neither SCM nor datanodes: ` + "`/datanodes`, `/pipelines`, `/containers/{missing,unhealthy,deleted,mismatch,quasiClosed}`" + `,
` + "`/containers/{id}/replicaHistory`, `/blocks/deletePending`, `/triggerdbsync/scm`, `/storageDistribution`, `/utilization/containerCount`" + `, and of
` + "`/clusterState`" + ` the fields about them. Absent, because it rests on other software: ` + "`/heatmap`, `/metrics`, `/chatbot`" + `.
`

// document writes what there is to know of a route.
func (r route) document(b *strings.Builder, seen map[string]bool) {
	fmt.Fprintf(b, "\n### %s\n\n`%s`\n\n%s", r.id(), r.name(), r.summary)
	if r.role == triggers {
		b.WriteString(" For admins.")
	}
	switch {
	case r.accepted:
		b.WriteString(" Answers 202, or 409 when it cannot now.")
	case r.none:
		b.WriteString(" Answers 204 when there is nothing.")
	}
	b.WriteString("\n")
	if params := r.all(); len(params) > 0 {
		b.WriteString("\n| Parameter | Allowed | Default | |\n|---|---|---|---|\n")
		for _, p := range params {
			def := p.def
			if p.required {
				def = "required"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.name, p.allows(), def, p.doc)
		}
	}
	if t := reflect.TypeOf(r.answer); t.Kind() != reflect.Bool && t.Kind() != reflect.Map {
		documentType(b, t, "", seen)
	}
}

// documentType writes the fields of a struct, once, and of those in it.
func documentType(b *strings.Builder, t reflect.Type, title string, seen map[string]bool) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer || t.Kind() == reflect.Map {
		t = t.Elem()
		title = "Each"
	}
	if t.Kind() != reflect.Struct {
		fmt.Fprintf(b, "\nAnswer: a list of texts.\n")
		return
	}
	if seen[t.Name()] {
		fmt.Fprintf(b, "\nAnswer: %s, as above.\n", t.Name())
		return
	}
	if title == "" {
		title = "Answer"
	}
	fmt.Fprintf(b, "\n| %s: %s | | |\n|---|---|---|\n", title, t.Name())
	seen[t.Name()] = true
	var more []reflect.Type
	fieldRows(b, t, &more)
	for _, m := range more {
		if !seen[m.Name()] {
			documentType(b, m, "Of it", seen)
		}
	}
}

func fieldRows(b *strings.Builder, t reflect.Type, more *[]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			fieldRows(b, f.Type, more)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		doc := f.Tag.Get("doc")
		if enum := f.Tag.Get("enum"); enum != "" {
			doc = strings.TrimPrefix(doc+"; "+strings.ReplaceAll(enum, ",", ", "), "; ")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, typeName(f.Type, more), doc)
	}
}

// typeName names a type as JSON has it, and notes the structs.
func typeName(t reflect.Type, more *[]reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + typeName(t.Elem(), more)
	case reflect.Map:
		return "map of " + typeName(t.Elem(), more)
	case reflect.Pointer:
		return typeName(t.Elem(), more) + " or null"
	case reflect.Interface:
		var all []string
		for _, v := range objectInfos {
			all = append(all, typeName(reflect.TypeOf(v), more))
		}
		return strings.Join(all, ", ") + " or null"
	case reflect.Struct:
		*more = append(*more, t)
		return t.Name()
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "boolean"
	}
	return "number"
}
