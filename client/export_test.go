package client

import "net/http"

// UseHTTP2 makes c send its calls over HTTP/2 without TLS.
func UseHTTP2(c *Client) {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	c.rpcHTTP.Protocols = p
}
