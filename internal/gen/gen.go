// Package gen compiles the tree's .proto files to Go with the plugins that
// go.mod names as tools, so that nobody needs protoc. `go generate
// ./internal/gen` writes the files; the package's test regenerates and compares
// them.
package gen

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// Files compiles every .proto file below root (api and internal) and returns
// the generated Go files by path relative to root.
func Files(ctx context.Context, root string) (map[string][]byte, error) {
	protos, err := find(root)
	if err != nil {
		return nil, err
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, protos...)
	if err != nil {
		return nil, fmt.Errorf("gen: %w", err)
	}
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate:  protos,
		CompilerVersion: &pluginpb.Version{Major: proto.Int32(0), Minor: proto.Int32(14), Patch: proto.Int32(1)},
	}
	seen := map[string]bool{}
	for _, f := range files {
		addFile(req, f, seen)
	}
	out := map[string][]byte{}
	for _, tool := range []struct{ name, param string }{
		{"protoc-gen-go", "module=o3"},
		{"protoc-gen-connect-go", "module=o3,simple"},
	} {
		req.Parameter = proto.String(tool.param)
		if err := run(ctx, root, tool.name, req, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// addFile adds f's imports and then f, each once, in dependency order.
func addFile(req *pluginpb.CodeGeneratorRequest, f protoreflect.FileDescriptor, seen map[string]bool) {
	if seen[f.Path()] {
		return
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		addFile(req, f.Imports().Get(i).FileDescriptor, seen)
	}
	req.ProtoFile = append(req.ProtoFile, toProto(f))
}

func toProto(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	return protodesc.ToFileDescriptorProto(f)
}

func find(root string) ([]string, error) {
	var out []string
	for _, top := range []string{"api", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(p, ".proto") {
				rel, _ := filepath.Rel(root, p)
				out = append(out, filepath.ToSlash(rel))
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("gen: %w", err)
		}
	}
	sort.Strings(out)
	return out, nil
}

func run(ctx context.Context, root, tool string, req *pluginpb.CodeGeneratorRequest, out map[string][]byte) error {
	in, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("gen: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", tool)
	cmd.Dir = root
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("gen: %s: %w", tool, err)
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(raw, &resp); err != nil {
		return fmt.Errorf("gen: %s: %w", tool, err)
	}
	if resp.GetError() != "" {
		return fmt.Errorf("gen: %s: %s", tool, resp.GetError())
	}
	for _, f := range resp.File {
		out[f.GetName()] = []byte(f.GetContent())
	}
	return nil
}

//go:generate go run ./write ../..
