package web

import (
	"time"

	"o3/internal/recon"
	"o3/internal/recon/query"
)

// Image is a copy of the namespace that the OM keeps.
type Image struct {
	ID           string `json:"id"`
	Index        uint64 `json:"index"`
	Term         uint64 `json:"term"`
	Op           string `json:"op"`
	CreationTime int64  `json:"creationTime" doc:"milliseconds since 1970"`
	Digest       string `json:"digest" doc:"of the state"`
	Bytes        int64  `json:"bytes"`
	Files        int64  `json:"files"`
	Readers      int64  `json:"readers" doc:"who read it now; it is kept meanwhile"`
	Blocks       bool   `json:"blocks" doc:"it has the bytes of objects"`
}

// ImagesResponse answers /images.
type ImagesResponse struct {
	query.Fresh
	Images []Image `json:"images" doc:"the newest first; as the OM has them now"`
}

// Who answers /whoami.
type Who struct {
	query.Fresh
	User       string `json:"user"`
	AccessKey  string `json:"accessKey" doc:"with which the request was signed; empty: with none, but by a certificate"`
	Role       string `json:"role" enum:"admin,user"`
	MayLook    bool   `json:"mayLook" doc:"at what readers may"`
	MayTrigger bool   `json:"mayTrigger" doc:"what admins may"`
}

// Reinit answers /triggerdbsync/om/reinit.
type Reinit struct {
	Status  string `json:"status" enum:"ACCEPTED,RETRY"`
	Message string `json:"message"`
}

// SyncStatus answers /sync/status.
type SyncStatus struct {
	query.Fresh
	State          string    `json:"state" enum:"STARTING,FOLLOWING,RETRYING,SYNCING"`
	Source         string    `json:"source" doc:"the OM that is followed"`
	Generation     string    `json:"generation" doc:"that answers come from"`
	ReflectedIndex uint64    `json:"reflectedIndex" doc:"the OM's log entry that answers reflect"`
	CommitIndex    uint64    `json:"commitIndex" doc:"the newest one that is known of"`
	Lag            uint64    `json:"lag" doc:"entries not reflected"`
	Op             string    `json:"op"`
	Digest         string    `json:"digest" doc:"of the state"`
	Time           int64     `json:"time" doc:"of the last command reflected, by the OM's clock, in milliseconds"`
	Heard          int64     `json:"heard" doc:"when the OM last told of itself; 0: not yet"`
	ComparedIndex  uint64    `json:"comparedIndex" doc:"the last entry at which the digest was the OM's"`
	Error          string    `json:"error" doc:"why the OM is not followed now"`
	Syncs          uint64    `json:"syncs" doc:"generations made since the start"`
	Failed         uint64    `json:"failed" doc:"tries at it that came to nothing"`
	Building       *Building `json:"building" doc:"null: nothing is being made"`
	LastSync       *Synced   `json:"lastSync" doc:"null: none since the start"`
}

// Building is a generation in the making.
type Building struct {
	Generation string `json:"generation"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail"`
	Phase      string `json:"phase" enum:"IMAGE,REBUILD,CATCH_UP,VALIDATE,SWITCH"`
	Since      int64  `json:"since"`
	Done       int64  `json:"done" doc:"bytes of the image, rows of the rebuild, or entries"`
	Total      int64  `json:"total" doc:"0: not known"`
}

// Synced is a generation that was made, or a try at it.
type Synced struct {
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
	Finished int64  `json:"finished"`
	TookMs   int64  `json:"tookMs"`
	Error    string `json:"error" doc:"empty: it was made"`
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func syncStatus(st recon.Status) *SyncStatus {
	out := &SyncStatus{
		State: string(st.State), Source: st.Source, Generation: st.Generation, ReflectedIndex: st.Index, CommitIndex: st.Commit, Lag: st.Lag(),
		Op: text(st.Op), Digest: st.Digest, Time: milli(st.Time), Heard: milli(st.Heard), ComparedIndex: st.Compared, Error: st.Error,
		Syncs: st.Syncs, Failed: st.Failed,
	}
	if b := st.Building; b != nil {
		out.Building = &Building{b.Generation, string(b.Reason), b.Detail, string(b.Phase), milli(b.Since), b.Done, b.Total}
	}
	if s := st.LastSync; s != nil {
		out.LastSync = &Synced{string(s.Reason), s.Detail, milli(s.Finished), s.Took.Milliseconds(), s.Error}
	}
	return out
}
