package command

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

// Kind is the number of a command in the log. Numbers are never reused.
type Kind uint32

// The commands.
const (
	CreateVolume    Kind = 1
	UpdateVolume    Kind = 2
	DeleteVolume    Kind = 3
	CreateBucket    Kind = 4
	UpdateBucket    Kind = 5
	DeleteBucket    Kind = 6
	OpenKey         Kind = 10
	CommitKey       Kind = 11
	AbandonKey      Kind = 12
	DeleteKeys      Kind = 13
	RenameKey       Kind = 14
	CopyKey         Kind = 15
	UpdateKey       Kind = 16
	CreateDirectory Kind = 17
	CreateUpload    Kind = 20
	CommitPart      Kind = 21
	CopyPart        Kind = 22
	CompleteUpload  Kind = 23
	AbortUpload     Kind = 24
	CreateUser      Kind = 30
	UpdateUser      Kind = 31
	DeleteUser      Kind = 32
	CreateAccessKey Kind = 33
	RevokeAccessKey Kind = 34
	PurgeDirs       Kind = 40
	FreedBlocks     Kind = 41
	ExpireClients   Kind = 42
	ExpireOpenKeys  Kind = 43
	CreateSnapshot  Kind = 50
	RenameSnapshot  Kind = 51
	DeleteSnapshot  Kind = 52
	RestoreKeys     Kind = 53
	ReclaimSnapshot Kind = 54
	CreateDiffJob   Kind = 60
	UpdateDiffJob   Kind = 61
	ForgetDiffJob   Kind = 62
	HoldLog         Kind = 70
	ReleaseLog      Kind = 71

	SetLifecycle       Kind = 80
	DeleteLifecycle    Kind = 81
	SuspendLifecycle   Kind = 82
	StartLifecycleScan Kind = 83
	LifecycleStep      Kind = 84
	CheckpointTrash    Kind = 85
	EmptyTrash         Kind = 86
)

// spec is a command as the registry knows it.
type spec struct {
	name  string
	body  func() proto.Message
	apply func(*Tx, proto.Message) (proto.Message, error)
}

// registry holds every command by its number.
var registry = map[Kind]spec{
	CreateVolume:    command("CreateVolume", createVolume),
	UpdateVolume:    command("UpdateVolume", updateVolume),
	DeleteVolume:    command("DeleteVolume", deleteVolume),
	CreateBucket:    command("CreateBucket", createBucket),
	UpdateBucket:    command("UpdateBucket", updateBucket),
	DeleteBucket:    command("DeleteBucket", deleteBucket),
	OpenKey:         command("OpenKey", openKey),
	CommitKey:       command("CommitKey", commitKey),
	AbandonKey:      command("AbandonKey", abandonKey),
	DeleteKeys:      command("DeleteKeys", deleteKeys),
	RenameKey:       command("RenameKey", renameKey),
	CopyKey:         command("CopyKey", copyKey),
	UpdateKey:       command("UpdateKey", updateKey),
	CreateDirectory: command("CreateDirectory", createDirectory),
	CreateUpload:    command("CreateUpload", createUpload),
	CommitPart:      command("CommitPart", commitPart),
	CopyPart:        command("CopyPart", copyPart),
	CompleteUpload:  command("CompleteUpload", completeUpload),
	AbortUpload:     command("AbortUpload", abortUpload),
	CreateUser:      command("CreateUser", createUser),
	UpdateUser:      command("UpdateUser", updateUser),
	DeleteUser:      command("DeleteUser", deleteUser),
	CreateAccessKey: command("CreateAccessKey", createAccessKey),
	RevokeAccessKey: command("RevokeAccessKey", revokeAccessKey),
	PurgeDirs:       command("PurgeDirs", purgeDirs),
	FreedBlocks:     command("FreedBlocks", freedBlocks),
	ExpireClients:   command("ExpireClients", expireClients),
	ExpireOpenKeys:  command("ExpireOpenKeys", expireOpenKeys),
	CreateSnapshot:  command("CreateSnapshot", createSnapshot),
	RenameSnapshot:  command("RenameSnapshot", renameSnapshot),
	DeleteSnapshot:  command("DeleteSnapshot", deleteSnapshot),
	RestoreKeys:     command("RestoreKeys", restoreKeys),
	ReclaimSnapshot: command("ReclaimSnapshot", reclaimSnapshot),
	CreateDiffJob:   command("CreateDiffJob", createDiffJob),
	UpdateDiffJob:   command("UpdateDiffJob", updateDiffJob),
	ForgetDiffJob:   command("ForgetDiffJob", forgetDiffJob),
	HoldLog:         command("HoldLog", holdLog),
	ReleaseLog:      command("ReleaseLog", releaseLog),

	SetLifecycle:       command("SetLifecycle", setLifecycle),
	DeleteLifecycle:    command("DeleteLifecycle", deleteLifecycle),
	SuspendLifecycle:   command("SuspendLifecycle", suspendLifecycle),
	StartLifecycleScan: command("StartLifecycleScan", startLifecycleScan),
	LifecycleStep:      command("LifecycleStep", lifecycleStep),
	CheckpointTrash:    command("CheckpointTrash", checkpointTrash),
	EmptyTrash:         command("EmptyTrash", emptyTrash),
}

// command wraps a typed command as a spec.
func command[B, R any, PB message[B], PR message[R]](name string, apply func(*Tx, PB) (PR, error)) spec {
	return spec{
		name: name,
		body: func() proto.Message { return PB(new(B)) },
		apply: func(t *Tx, m proto.Message) (proto.Message, error) {
			reply, err := apply(t, m.(PB))
			if err != nil || reply == nil {
				return nil, err
			}
			return reply, nil
		},
	}
}

type message[T any] interface {
	*T
	proto.Message
}

// String returns the command's name.
func (k Kind) String() string {
	if s, ok := registry[k]; ok {
		return s.name
	}
	return fmt.Sprintf("command %d", uint32(k))
}

// ChangesSettings reports whether the command changes what requests are checked
// against, or answered with: volumes, buckets (but for their usage), lifecycle
// configurations, users and access keys.
func (k Kind) ChangesSettings() bool {
	switch k {
	case CreateVolume, UpdateVolume, DeleteVolume, CreateBucket, UpdateBucket, DeleteBucket,
		SetLifecycle, DeleteLifecycle, CreateUser, UpdateUser, DeleteUser, CreateAccessKey, RevokeAccessKey:
		return true
	}
	return false
}

// ChangesHolds reports whether the command changes the leases on the log.
func (k Kind) ChangesHolds() bool { return k == HoldLog || k == ReleaseLog }

// Apply decodes body and applies the command it is. A command this program
// does not know was written by a newer one: a fault, as skipping it would make
// replicas differ.
func Apply(t *Tx, k Kind, body []byte) (proto.Message, error) {
	s, ok := registry[k]
	if !ok {
		return nil, errs.New(errs.FormatTooNew, k.String(), "the log holds a command of a newer version")
	}
	m := s.body()
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, errs.New(errs.Corrupt, k.String(), err.Error())
	}
	return s.apply(t, m)
}
