package s3

import "net/http"

// code is the status and the standard text of an S3 error code.
type code struct {
	status int
	text   string
}

// statusClientGone is logged, never received: the client left first.
const statusClientGone = 499

// codes is the table of errors: those of S3, and seven of our own for what S3
// does not know (ParentIsObject, ObjectIsDirectory, StorageFull, NoSuchVolume,
// NoSuchSnapshot, QuotaExceeded, RequestCanceled).
var codes = map[string]code{
	"AccessDenied":                       {http.StatusForbidden, "Access Denied"},
	"AuthorizationHeaderMalformed":       {http.StatusBadRequest, "The authorization header that you provided is not valid."},
	"AuthorizationQueryParametersError":  {http.StatusBadRequest, "The authorization query parameters that you provided are not valid."},
	"BadDigest":                          {http.StatusBadRequest, "The Content-MD5 or checksum value that you specified did not match what the server received."},
	"BadRequest":                         {http.StatusBadRequest, "Bad Request"},
	"BucketAlreadyExists":                {http.StatusConflict, "The requested bucket name is not available. It is owned by somebody else; select a different name and try again."},
	"BucketAlreadyOwnedByYou":            {http.StatusConflict, "The bucket that you tried to create already exists, and you own it."},
	"BucketNotEmpty":                     {http.StatusConflict, "The bucket that you tried to delete is not empty."},
	"DirectoryNotEmpty":                  {http.StatusConflict, "The directory that you tried to delete is not empty."},
	"EntityTooLarge":                     {http.StatusBadRequest, "Your proposed upload exceeds the maximum allowed object size."},
	"EntityTooSmall":                     {http.StatusBadRequest, "Your proposed upload is smaller than the minimum allowed object size."},
	"IllegalLocationConstraintException": {http.StatusBadRequest, "The specified location constraint is incompatible for the region specific endpoint this request was sent to."},
	"IncompleteBody":                     {http.StatusBadRequest, "You did not provide the number of bytes specified by the Content-Length HTTP header."},
	"InternalError":                      {http.StatusInternalServerError, "We encountered an internal error. Please try again."},
	"InvalidAccessKeyId":                 {http.StatusForbidden, "The AWS access key ID that you provided does not exist in our records."},
	"InvalidArgument":                    {http.StatusBadRequest, "Invalid Argument"},
	"InvalidBucketName":                  {http.StatusBadRequest, "The specified bucket is not valid."},
	"InvalidChunkSizeError":              {http.StatusForbidden, "Only the last chunk is allowed to have a size less than 8192 bytes."},
	"InvalidDigest":                      {http.StatusBadRequest, "The Content-MD5 or checksum value that you specified is not valid."},
	"InvalidPart":                        {http.StatusBadRequest, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag."},
	"InvalidPartNumber":                  {http.StatusRequestedRangeNotSatisfiable, "The requested partnumber is not satisfiable."},
	"InvalidPartOrder":                   {http.StatusBadRequest, "The list of parts was not in ascending order. The parts list must be specified in order by part number."},
	"InvalidRange":                       {http.StatusRequestedRangeNotSatisfiable, "The requested range is not satisfiable."},
	"InvalidRequest":                     {http.StatusBadRequest, "Invalid Request"},
	"InvalidStorageClass":                {http.StatusBadRequest, "The storage class that you specified is not valid."},
	"InvalidTag":                         {http.StatusBadRequest, "Your request contains tag input that is not valid."},
	"InvalidToken":                       {http.StatusBadRequest, "The provided token is malformed or otherwise not valid."},
	"InvalidURI":                         {http.StatusBadRequest, "Couldn't parse the specified URI."},
	"KeyTooLongError":                    {http.StatusBadRequest, "Your key is too long."},
	"MalformedPOSTRequest":               {http.StatusBadRequest, "The body of your POST request is not well-formed multipart/form-data."},
	"MalformedTrailerError":              {http.StatusBadRequest, "The request contained trailing data that was not well-formed or did not conform to our published schema."},
	"MalformedXML":                       {http.StatusBadRequest, "The XML that you provided was not well formed or did not validate against our published schema."},
	"MaxMessageLengthExceeded":           {http.StatusBadRequest, "Your request was too large."},
	"MetadataTooLarge":                   {http.StatusBadRequest, "Your metadata headers exceed the maximum allowed metadata size."},
	"MethodNotAllowed":                   {http.StatusMethodNotAllowed, "The specified method is not allowed against this resource."},
	"MissingContentLength":               {http.StatusLengthRequired, "You must provide the Content-Length HTTP header."},
	"MissingRequestBodyError":            {http.StatusBadRequest, "Request body is empty."},
	"MissingSecurityHeader":              {http.StatusBadRequest, "Your request was missing a required header."},
	"NoSuchBucket":                       {http.StatusNotFound, "The specified bucket does not exist."},
	"NoSuchConfiguration":                {http.StatusNotFound, "The specified configuration does not exist."},
	"NoSuchJob":                          {http.StatusNotFound, "The specified job does not exist."},
	"NoSuchKey":                          {http.StatusNotFound, "The specified key does not exist."},
	"NoSuchLifecycleConfiguration":       {http.StatusNotFound, "The lifecycle configuration does not exist"},
	"NoSuchSnapshot":                     {http.StatusNotFound, "The specified snapshot does not exist."},
	"NoSuchTagSet":                       {http.StatusNotFound, "The TagSet does not exist."},
	"NoSuchUpload":                       {http.StatusNotFound, "The specified multipart upload does not exist. The upload ID might not be valid, or the multipart upload might have been aborted or completed."},
	"NoSuchVersion":                      {http.StatusNotFound, "The version ID specified in the request does not match an existing version."},
	"NoSuchVolume":                       {http.StatusNotFound, "The specified volume does not exist."},
	"NotImplemented":                     {http.StatusNotImplemented, "A header or query that you provided requested functionality that is not implemented."},
	"NotModified":                        {http.StatusNotModified, "Not Modified"},
	"ObjectIsDirectory":                  {http.StatusConflict, "The key names a directory of a file-system bucket."},
	"OperationAborted":                   {http.StatusConflict, "A conflicting conditional operation is currently in progress against this resource. Please try again."},
	"ParentIsObject":                     {http.StatusConflict, "A parent of the key is an object; in a file-system bucket it cannot also be a directory."},
	"PreconditionFailed":                 {http.StatusPreconditionFailed, "At least one of the preconditions that you specified did not hold."},
	"QuotaExceeded":                      {http.StatusForbidden, "The quota of the bucket or volume does not allow this."},
	"RequestCanceled":                    {statusClientGone, "The client left before the answer."},
	"RequestTimeTooSkewed":               {http.StatusForbidden, "The difference between the request time and the server's time is too large."},
	"RequestTimeout":                     {http.StatusBadRequest, "Your socket connection to the server was not read from or written to within the timeout period."},
	"ServiceUnavailable":                 {http.StatusServiceUnavailable, "Service is unable to handle request."},
	"SignatureDoesNotMatch":              {http.StatusForbidden, "The request signature that the server calculated does not match the signature that you provided."},
	"SlowDown":                           {http.StatusServiceUnavailable, "Please reduce your request rate."},
	"StorageFull":                        {http.StatusInsufficientStorage, "The store is out of space and accepts no writes until some is freed."},
	"TooManyBuckets":                     {http.StatusBadRequest, "You have attempted to create more buckets than allowed."},
	"XAmzContentChecksumMismatch":        {http.StatusBadRequest, "The provided 'x-amz-checksum' header does not match what was computed."},
	"XAmzContentSHA256Mismatch":          {http.StatusBadRequest, "The provided 'x-amz-content-sha256' header does not match what was computed."},
}
