// Package xmlapi holds the XML documents of the S3 API: results, written by
// appending to a buffer, and request bodies, decoded strictly and within
// bounds. It has no goroutines and no state; everything is a function of its
// arguments.
//
// Each result type implements Document. What is written is what encoding/xml
// would write, with one difference, which is S3's: a control character that
// XML 1.0 cannot hold is written as a character reference (&#x1;), so that a
// client fails instead of seeing another key. Clients avoid that by asking for
// encoding-type=url, which the list results implement.
//
// Each Decode function reads a whole body (at most a limit of its own) and
// refuses everything it does not know: no element, attribute or namespace is
// accepted and ignored, no entity is expanded but the five of XML itself. A
// read error of the body is returned as it is, so a failed digest or signature
// is not hidden behind MalformedXML. A lifecycle configuration may also be read
// and written as the JSON of the AWS command line.
package xmlapi

import (
	"strconv"
	"time"

	"o3/internal/errs"
)

// Namespace is the XML namespace of S3's documents.
const Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// ContentType is the media type of the documents.
const ContentType = "application/xml"

// Header starts every document. A handler that sends white space to keep a
// long request alive sends it first, and then the document without it, cut off
// by Body.
const Header = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// Body returns a document without the Header it starts with.
func Body(document []byte) []byte { return document[len(Header):] }

// EncodingURL is the one value of encoding-type.
const EncodingURL = "url"

// Document is a result that can be written.
type Document interface {
	// AppendXML appends the whole document, from Header on, to b.
	AppendXML(b []byte) []byte
}

// Error is a refusal of a request body, in the terms of S3. AWSCode,
// AWSMessage and AWSElements are the methods by which the S3 front recognises
// an error that names its own code.
type Error struct {
	Code     string
	Message  string
	Elements [][2]string // further elements of the XML error, in order
}

// The AWS error codes of this package.
const (
	codeMalformedXML   = "MalformedXML"
	codeTooLong        = "MaxMessageLengthExceeded"
	codeInvalidTag     = "InvalidTag"
	codeBadRequest     = "BadRequest"
	codeNotImplemented = "NotImplemented"
	codeInvalidArg     = "InvalidArgument"
)

// Codes returns every AWS error code that an Error of this package may carry.
func Codes() []string {
	return []string{codeMalformedXML, codeTooLong, codeInvalidTag, codeBadRequest, codeNotImplemented, codeInvalidArg}
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// AWSCode returns the AWS error code.
func (e *Error) AWSCode() string { return e.Code }

// AWSMessage returns the text for the client.
func (e *Error) AWSMessage() string { return e.Message }

// AWSElements returns the further elements of the XML error.
func (e *Error) AWSElements() [][2]string { return e.Elements }

// Unwrap returns the error as an errs.Error, for edges other than S3: the rule of a
// lifecycle configuration that it is about, and the detail where there is one.
func (e *Error) Unwrap() error {
	kind := errs.Invalid
	subject, text := "", e.Message
	for _, x := range e.Elements {
		switch x[0] {
		case "Rule":
			subject = "lifecycle rule " + x[1]
		case "Detail":
			text = x[1]
		}
	}
	switch e.Code {
	case codeTooLong:
		kind = errs.TooLarge
	case codeNotImplemented:
		kind = errs.NotImplemented
	}
	return errs.New(kind, subject, text)
}

// begin appends the header and the start of a root element in the namespace.
func begin(b []byte, root string) []byte {
	b = append(b, Header+"<"...)
	b = append(b, root...)
	return append(b, ` xmlns="`+Namespace+`">`...)
}

// open and shut append the tags of an element.
func open(b []byte, name string) []byte {
	b = append(b, '<')
	b = append(b, name...)
	return append(b, '>')
}

func shut(b []byte, name string) []byte {
	b = append(b, "</"...)
	b = append(b, name...)
	return append(b, '>')
}

// text appends an element with escaped text.
func text(b []byte, name, value string) []byte {
	b = open(b, name)
	b = AppendEscaped(b, value)
	return shut(b, name)
}

// optional appends an element unless its text is empty.
func optional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return text(b, name, value)
}

// etag appends an ETag element; etag is without quotes.
func etag(b []byte, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, "<ETag>&#34;"...)
	b = AppendEscaped(b, value)
	return append(b, "&#34;</ETag>"...)
}

func number(b []byte, name string, n int64) []byte {
	b = open(b, name)
	b = strconv.AppendInt(b, n, 10)
	return shut(b, name)
}

func boolean(b []byte, name string, v bool) []byte {
	b = open(b, name)
	b = strconv.AppendBool(b, v)
	return shut(b, name)
}

// TimeFormat is the layout of times in documents, always UTC.
const TimeFormat = "2006-01-02T15:04:05.000Z"

func instant(b []byte, name string, t time.Time) []byte {
	b = open(b, name)
	b = appendTime(b, t)
	return shut(b, name)
}

// appendTime is AppendFormat(TimeFormat), an order of magnitude faster: it is
// done for every key of a listing.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, TimeFormat)
	}
	hour, minute, second := t.Clock()
	b = append(b, byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-')
	b = append(two(b, int(month)), '-')
	b = append(two(b, day), 'T')
	b = append(two(b, hour), ':')
	b = append(two(b, minute), ':')
	b = append(two(b, second), '.')
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

func two(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
