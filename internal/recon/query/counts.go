package query

import (
	"slices"
	"strings"

	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
)

// ClusterStateResponse answers /clusterState. What Ozone's Recon learns from its
// SCM and datanodes is left out.
type ClusterStateResponse struct {
	Containers          int64  `json:"containers" doc:"that keys have blocks in; counted up to 1,000,000"`
	Volumes             int64  `json:"volumes"`
	Buckets             int64  `json:"buckets"`
	Keys                int64  `json:"keys" doc:"rows of keyTable and fileTable: those in deleted directories count until they are purged"`
	KeysPendingDeletion int64  `json:"keysPendingDeletion"`
	DeletedDirs         int64  `json:"deletedDirs"`
	OmServiceID         string `json:"omServiceId" doc:"the OM that is followed"`
	Snapshots           int64  `json:"snapshots" doc:"of our own: live ones"`
}

// ClusterState counts what there is.
func ClusterState(v *generation.View, om string) (ClusterStateResponse, error) {
	s, err := v.SQL.Stats()
	if err != nil {
		return ClusterStateResponse{}, err
	}
	containers, err := countContainers(v)
	return ClusterStateResponse{
		Containers: containers, Volumes: s["volumeTableCount"], Buckets: s["bucketTableCount"], Keys: s["keyTableCount"] + s["fileTableCount"],
		KeysPendingDeletion: s["deletedTableCount"], DeletedDirs: s["deletedDirectoryTableCount"], OmServiceID: om, Snapshots: s["snapshotInfoTableCount"],
	}, err
}

// TaskStatus is how a task of Recon is.
type TaskStatus struct {
	TaskName             string `json:"taskName"`
	LastUpdatedTimestamp int64  `json:"lastUpdatedTimestamp" doc:"the OM's time of the last change that is reflected"`
	LastUpdatedSeqNumber uint64 `json:"lastUpdatedSeqNumber" doc:"the log entry that is reflected"`
	LastTaskRunStatus    int    `json:"lastTaskRunStatus" doc:"0: well; -1: failed"`
	IsCurrentTaskRunning int    `json:"isCurrentTaskRunning" doc:"1: the task builds its tables anew, for the next generation"`
}

// TaskStatuses says how the tasks are, and the two by which Recon follows the OM.
// All tasks of a generation stand at the same entry.
func TaskStatuses(v *generation.View, st recon.Status) []TaskStatus {
	at := func(name string, bad, running bool) TaskStatus {
		t := TaskStatus{TaskName: name, LastUpdatedTimestamp: v.At.TimeMs, LastUpdatedSeqNumber: v.At.Index}
		if bad {
			t.LastTaskRunStatus = -1
		}
		if running {
			t.IsCurrentTaskRunning = 1
		}
		return t
	}
	b := st.Building
	failed := st.LastSync != nil && st.LastSync.Error != ""
	all := []TaskStatus{
		at("OmDeltaRequest", st.Error != "", st.State == recon.StateFollowing),
		at("OmSnapshotRequest", failed, b != nil && b.Phase == recon.PhaseImage),
	}
	for _, t := range task.All() {
		bad := b != nil && b.Reason == recon.ReasonTasks || failed && st.LastSync.Reason == recon.ReasonTasks
		all = append(all, at(t.Name, bad, b != nil && b.Phase == recon.PhaseRebuild))
	}
	slices.SortFunc(all, func(x, y TaskStatus) int { return strings.Compare(x.TaskName, y.TaskName) })
	return all
}
