package s3

// handler serves one action. It returns what to answer, or an error that
// answerOf translates.
type handler func(*Gateway, *request) (reply, error)

// route is one row of the API. The router, the labels of metrics, the check of
// parameters and headers, and docs/s3.md derive from it.
type route struct {
	method     string
	level      level
	query      string    // parameters that must be there: "uploads", "list-type=2", "partNumber&uploadId"
	header     string    // a header that must be there
	action     string    // AWS's name
	permission string    // in AWS's words
	handler    handler   // nil: answered NotImplemented
	params     string    // further parameters that are honoured
	accepts    headerSet // headers that are honoured, beside those of every request
}

const (
	listParams     = "prefix delimiter encoding-type max-keys"
	responseParams = "response-cache-control response-content-disposition response-content-encoding " +
		"response-content-language response-content-type response-expires"
)

// routes is the API. What S3 has and this table shows without a handler is
// answered NotImplemented by name.
var routes = []route{
	{"GET", serviceLevel, "", "", "ListBuckets", "s3:ListAllMyBuckets", (*Gateway).listBuckets, "prefix max-buckets continuation-token bucket-region", 0},
	{"GET", serviceLevel, "x-id=ListDirectoryBuckets", "", "ListDirectoryBuckets", "s3express:ListAllMyDirectoryBuckets", nil, "", 0},

	// Buckets.
	{"PUT", bucketLevel, "", "", "CreateBucket", "s3:CreateBucket", (*Gateway).createBucket, "", hCreate | hACL | hBody},
	{"HEAD", bucketLevel, "", "", "HeadBucket", "s3:ListBucket", (*Gateway).headBucket, "", 0},
	{"DELETE", bucketLevel, "", "", "DeleteBucket", "s3:DeleteBucket", (*Gateway).deleteBucket, "", 0},
	{"GET", bucketLevel, "location", "", "GetBucketLocation", "s3:GetBucketLocation", (*Gateway).getBucketLocation, "", 0},
	{"GET", bucketLevel, "versioning", "", "GetBucketVersioning", "s3:GetBucketVersioning", (*Gateway).getBucketVersioning, "", 0},
	{"GET", bucketLevel, "acl", "", "GetBucketAcl", "s3:GetBucketAcl", (*Gateway).getBucketACL, "", 0},
	{"PUT", bucketLevel, "acl", "", "PutBucketAcl", "s3:PutBucketAcl", (*Gateway).putBucketACL, "", hACL | hBody},
	{"GET", bucketLevel, "tagging", "", "GetBucketTagging", "s3:GetBucketTagging", (*Gateway).getBucketTagging, "", 0},
	{"PUT", bucketLevel, "tagging", "", "PutBucketTagging", "s3:PutBucketTagging", (*Gateway).putBucketTagging, "", hBody},
	{"DELETE", bucketLevel, "tagging", "", "DeleteBucketTagging", "s3:PutBucketTagging", (*Gateway).deleteBucketTagging, "", 0},
	{"GET", bucketLevel, "lifecycle", "", "GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration", (*Gateway).getLifecycle, "", 0},
	{"PUT", bucketLevel, "lifecycle", "", "PutBucketLifecycleConfiguration", "s3:PutLifecycleConfiguration", (*Gateway).putLifecycle, "", hBody | hLifecycle},
	{"DELETE", bucketLevel, "lifecycle", "", "DeleteBucketLifecycle", "s3:PutLifecycleConfiguration", (*Gateway).deleteLifecycle, "", 0},

	// Listings.
	{"GET", bucketLevel, "", "", "ListObjects", "s3:ListBucket", (*Gateway).listObjects, listParams + " marker list-type", 0},
	{"GET", bucketLevel, "list-type=2", "", "ListObjectsV2", "s3:ListBucket", (*Gateway).listObjectsV2, listParams + " start-after continuation-token fetch-owner", 0},
	{"GET", bucketLevel, "versions", "", "ListObjectVersions", "s3:ListBucketVersions", (*Gateway).listObjectVersions, listParams + " key-marker version-id-marker", 0},
	{"GET", bucketLevel, "uploads", "", "ListMultipartUploads", "s3:ListBucketMultipartUploads", (*Gateway).listUploads, "prefix delimiter encoding-type key-marker upload-id-marker max-uploads", 0},

	// Objects.
	{"PUT", objectLevel, "", "", "PutObject", "s3:PutObject", (*Gateway).putObject, "", hContent | hTags | hACL | hIf | hBody},
	{"GET", objectLevel, "", "", "GetObject", "s3:GetObject", (*Gateway).getObject, "versionId partNumber " + responseParams, hRead},
	{"HEAD", objectLevel, "", "", "HeadObject", "s3:GetObject", (*Gateway).headObject, "versionId partNumber " + responseParams, hRead},
	{"DELETE", objectLevel, "", "", "DeleteObject", "s3:DeleteObject", (*Gateway).deleteObject, "versionId", hDelete},
	{"POST", bucketLevel, "delete", "", "DeleteObjects", "s3:DeleteObject", (*Gateway).deleteObjects, "", hBody},
	{"PUT", objectLevel, "", "X-Amz-Copy-Source", "CopyObject", "s3:PutObject, s3:GetObject", (*Gateway).copyObject, "", hContent | hTags | hACL | hIf | hCopy | hSource | hUpload},
	{"GET", objectLevel, "acl", "", "GetObjectAcl", "s3:GetObjectAcl", (*Gateway).getObjectACL, "versionId", 0},
	{"PUT", objectLevel, "acl", "", "PutObjectAcl", "s3:PutObjectAcl", (*Gateway).putObjectACL, "versionId", hACL | hBody},
	{"GET", objectLevel, "attributes", "", "GetObjectAttributes", "s3:GetObjectAttributes", (*Gateway).getObjectAttributes, "versionId", hAttributes},
	{"GET", objectLevel, "tagging", "", "GetObjectTagging", "s3:GetObjectTagging", (*Gateway).getObjectTagging, "versionId", 0},
	{"PUT", objectLevel, "tagging", "", "PutObjectTagging", "s3:PutObjectTagging", (*Gateway).putObjectTagging, "versionId", hBody},
	{"DELETE", objectLevel, "tagging", "", "DeleteObjectTagging", "s3:DeleteObjectTagging", (*Gateway).deleteObjectTagging, "versionId", 0},

	// Multipart uploads.
	{"POST", objectLevel, "uploads", "", "CreateMultipartUpload", "s3:PutObject", (*Gateway).createUpload, "", hContent | hTags | hACL | hUpload},
	{"PUT", objectLevel, "partNumber&uploadId", "", "UploadPart", "s3:PutObject", (*Gateway).uploadPart, "", hBody},
	{"PUT", objectLevel, "partNumber&uploadId", "X-Amz-Copy-Source", "UploadPartCopy", "s3:PutObject, s3:GetObject", (*Gateway).copyPart, "", hSource | hSourceRange},
	{"GET", objectLevel, "uploadId", "", "ListParts", "s3:ListMultipartUploadParts", (*Gateway).listParts, "max-parts part-number-marker encoding-type", 0},
	{"POST", objectLevel, "uploadId", "", "CompleteMultipartUpload", "s3:PutObject", (*Gateway).completeUpload, "", hIf | hComplete},
	{"DELETE", objectLevel, "uploadId", "", "AbortMultipartUpload", "s3:AbortMultipartUpload", (*Gateway).abortUpload, "", 0},

	// Not implemented: buckets.
	{"GET", bucketLevel, "abac", "", "GetBucketAbac", "s3:GetBucketAbac", nil, "", 0},
	{"PUT", bucketLevel, "abac", "", "PutBucketAbac", "s3:PutBucketAbac", nil, "", 0},
	{"GET", bucketLevel, "accelerate", "", "GetBucketAccelerateConfiguration", "s3:GetAccelerateConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "accelerate", "", "PutBucketAccelerateConfiguration", "s3:PutAccelerateConfiguration", nil, "", 0},
	{"GET", bucketLevel, "analytics", "", "ListBucketAnalyticsConfigurations", "s3:GetAnalyticsConfiguration", nil, "", 0},
	{"GET", bucketLevel, "analytics&id", "", "GetBucketAnalyticsConfiguration", "s3:GetAnalyticsConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "analytics", "", "PutBucketAnalyticsConfiguration", "s3:PutAnalyticsConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "analytics", "", "DeleteBucketAnalyticsConfiguration", "s3:PutAnalyticsConfiguration", nil, "", 0},
	{"GET", bucketLevel, "cors", "", "GetBucketCors", "s3:GetBucketCORS", nil, "", 0},
	{"PUT", bucketLevel, "cors", "", "PutBucketCors", "s3:PutBucketCORS", nil, "", 0},
	{"DELETE", bucketLevel, "cors", "", "DeleteBucketCors", "s3:PutBucketCORS", nil, "", 0},
	{"OPTIONS", bucketLevel, "", "", "PreflightBucket", "none", nil, "", 0},
	{"OPTIONS", objectLevel, "", "", "PreflightObject", "none", nil, "", 0},
	{"GET", bucketLevel, "encryption", "", "GetBucketEncryption", "s3:GetEncryptionConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "encryption", "", "PutBucketEncryption", "s3:PutEncryptionConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "encryption", "", "DeleteBucketEncryption", "s3:PutEncryptionConfiguration", nil, "", 0},
	{"GET", bucketLevel, "intelligent-tiering", "", "ListBucketIntelligentTieringConfigurations", "s3:GetIntelligentTieringConfiguration", nil, "", 0},
	{"GET", bucketLevel, "intelligent-tiering&id", "", "GetBucketIntelligentTieringConfiguration", "s3:GetIntelligentTieringConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "intelligent-tiering", "", "PutBucketIntelligentTieringConfiguration", "s3:PutIntelligentTieringConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "intelligent-tiering", "", "DeleteBucketIntelligentTieringConfiguration", "s3:PutIntelligentTieringConfiguration", nil, "", 0},
	{"GET", bucketLevel, "inventory", "", "ListBucketInventoryConfigurations", "s3:GetInventoryConfiguration", nil, "", 0},
	{"GET", bucketLevel, "inventory&id", "", "GetBucketInventoryConfiguration", "s3:GetInventoryConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "inventory", "", "PutBucketInventoryConfiguration", "s3:PutInventoryConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "inventory", "", "DeleteBucketInventoryConfiguration", "s3:PutInventoryConfiguration", nil, "", 0},
	{"GET", bucketLevel, "logging", "", "GetBucketLogging", "s3:GetBucketLogging", nil, "", 0},
	{"PUT", bucketLevel, "logging", "", "PutBucketLogging", "s3:PutBucketLogging", nil, "", 0},
	{"POST", bucketLevel, "metadataConfiguration", "", "CreateBucketMetadataConfiguration", "s3:CreateBucketMetadataTableConfiguration", nil, "", 0},
	{"GET", bucketLevel, "metadataConfiguration", "", "GetBucketMetadataConfiguration", "s3:GetBucketMetadataTableConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "metadataConfiguration", "", "DeleteBucketMetadataConfiguration", "s3:DeleteBucketMetadataTableConfiguration", nil, "", 0},
	{"POST", bucketLevel, "metadataTable", "", "CreateBucketMetadataTableConfiguration", "s3:CreateBucketMetadataTableConfiguration", nil, "", 0},
	{"GET", bucketLevel, "metadataTable", "", "GetBucketMetadataTableConfiguration", "s3:GetBucketMetadataTableConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "metadataTable", "", "DeleteBucketMetadataTableConfiguration", "s3:DeleteBucketMetadataTableConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "metadataAnnotationTable", "", "UpdateBucketMetadataAnnotationTableConfiguration", "s3:UpdateBucketMetadataAnnotationTableConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "metadataInventoryTable", "", "UpdateBucketMetadataInventoryTableConfiguration", "s3:UpdateBucketMetadataInventoryTableConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "metadataJournalTable", "", "UpdateBucketMetadataJournalTableConfiguration", "s3:UpdateBucketMetadataJournalTableConfiguration", nil, "", 0},
	{"GET", bucketLevel, "metrics", "", "ListBucketMetricsConfigurations", "s3:GetMetricsConfiguration", nil, "", 0},
	{"GET", bucketLevel, "metrics&id", "", "GetBucketMetricsConfiguration", "s3:GetMetricsConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "metrics", "", "PutBucketMetricsConfiguration", "s3:PutMetricsConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "metrics", "", "DeleteBucketMetricsConfiguration", "s3:PutMetricsConfiguration", nil, "", 0},
	{"GET", bucketLevel, "notification", "", "GetBucketNotificationConfiguration", "s3:GetBucketNotification", nil, "", 0},
	{"PUT", bucketLevel, "notification", "", "PutBucketNotificationConfiguration", "s3:PutBucketNotification", nil, "", 0},
	{"GET", bucketLevel, "object-lock", "", "GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "object-lock", "", "PutObjectLockConfiguration", "s3:PutBucketObjectLockConfiguration", nil, "", 0},
	{"GET", bucketLevel, "ownershipControls", "", "GetBucketOwnershipControls", "s3:GetBucketOwnershipControls", nil, "", 0},
	{"PUT", bucketLevel, "ownershipControls", "", "PutBucketOwnershipControls", "s3:PutBucketOwnershipControls", nil, "", 0},
	{"DELETE", bucketLevel, "ownershipControls", "", "DeleteBucketOwnershipControls", "s3:PutBucketOwnershipControls", nil, "", 0},
	{"GET", bucketLevel, "policy", "", "GetBucketPolicy", "s3:GetBucketPolicy", nil, "", 0},
	{"PUT", bucketLevel, "policy", "", "PutBucketPolicy", "s3:PutBucketPolicy", nil, "", 0},
	{"DELETE", bucketLevel, "policy", "", "DeleteBucketPolicy", "s3:DeleteBucketPolicy", nil, "", 0},
	{"GET", bucketLevel, "policyStatus", "", "GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", nil, "", 0},
	{"GET", bucketLevel, "publicAccessBlock", "", "GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", nil, "", 0},
	{"PUT", bucketLevel, "publicAccessBlock", "", "PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock", nil, "", 0},
	{"DELETE", bucketLevel, "publicAccessBlock", "", "DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock", nil, "", 0},
	{"GET", bucketLevel, "replication", "", "GetBucketReplication", "s3:GetReplicationConfiguration", nil, "", 0},
	{"PUT", bucketLevel, "replication", "", "PutBucketReplication", "s3:PutReplicationConfiguration", nil, "", 0},
	{"DELETE", bucketLevel, "replication", "", "DeleteBucketReplication", "s3:PutReplicationConfiguration", nil, "", 0},
	{"GET", bucketLevel, "requestPayment", "", "GetBucketRequestPayment", "s3:GetBucketRequestPayment", nil, "", 0},
	{"PUT", bucketLevel, "requestPayment", "", "PutBucketRequestPayment", "s3:PutBucketRequestPayment", nil, "", 0},
	{"GET", bucketLevel, "session", "", "CreateSession", "s3express:CreateSession", nil, "", 0},
	{"PUT", bucketLevel, "versioning", "", "PutBucketVersioning", "s3:PutBucketVersioning", nil, "", 0},
	{"GET", bucketLevel, "website", "", "GetBucketWebsite", "s3:GetBucketWebsite", nil, "", 0},
	{"PUT", bucketLevel, "website", "", "PutBucketWebsite", "s3:PutBucketWebsite", nil, "", 0},
	{"DELETE", bucketLevel, "website", "", "DeleteBucketWebsite", "s3:DeleteBucketWebsite", nil, "", 0},
	{"POST", bucketLevel, "", "", "PostObject", "s3:PutObject", nil, "", 0},
	{"POST", bucketLevel, "", "X-Amz-Request-Route", "WriteGetObjectResponse", "s3-object-lambda:WriteGetObjectResponse", nil, "", 0},

	// Not implemented: objects.
	{"GET", objectLevel, "annotation", "", "ListObjectAnnotations", "s3:ListObjectAnnotations", nil, "", 0},
	{"GET", objectLevel, "annotation&annotationName", "", "GetObjectAnnotation", "s3:GetObjectAnnotation", nil, "", 0},
	{"PUT", objectLevel, "annotation", "", "PutObjectAnnotation", "s3:PutObjectAnnotation", nil, "", 0},
	{"DELETE", objectLevel, "annotation", "", "DeleteObjectAnnotation", "s3:DeleteObjectAnnotation", nil, "", 0},
	{"POST", objectLevel, "", "", "PostObjectToKey", "s3:PutObject", nil, "", 0},
	{"PUT", objectLevel, "encryption", "", "UpdateObjectEncryption", "s3:UpdateObjectEncryption", nil, "", 0},
	{"GET", objectLevel, "legal-hold", "", "GetObjectLegalHold", "s3:GetObjectLegalHold", nil, "", 0},
	{"PUT", objectLevel, "legal-hold", "", "PutObjectLegalHold", "s3:PutObjectLegalHold", nil, "", 0},
	{"PUT", objectLevel, "renameObject", "", "RenameObject", "s3:RenameObject", nil, "", 0},
	{"POST", objectLevel, "restore", "", "RestoreObject", "s3:RestoreObject", nil, "", 0},
	{"GET", objectLevel, "retention", "", "GetObjectRetention", "s3:GetObjectRetention", nil, "", 0},
	{"PUT", objectLevel, "retention", "", "PutObjectRetention", "s3:PutObjectRetention", nil, "", 0},
	{"POST", objectLevel, "select", "", "SelectObjectContent", "s3:GetObject", nil, "", 0},
	{"GET", objectLevel, "torrent", "", "GetObjectTorrent", "s3:GetObjectTorrent", nil, "", 0},
}
