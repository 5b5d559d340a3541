package app

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
)

// image makes an image.
func (s *server) image() *o3v1.ImageInfo {
	s.t.Helper()
	return s.imageOf(&o3v1.CreateImageRequest{})
}

// imageOf makes an image and waits for it, on a busy machine with its ticket.
func (s *server) imageOf(q *o3v1.CreateImageRequest) *o3v1.ImageInfo {
	s.t.Helper()
	for {
		r, err := s.om.CreateImage(s.t.Context(), q)
		if err != nil {
			s.t.Fatal(err)
		}
		if r.Image != nil {
			return r.Image
		}
		q = &o3v1.CreateImageRequest{Ticket: r.Ticket}
	}
}

// quick returns whether f takes less than a bound, which it does where it waits for
// nothing; a busy machine is given some tries.
func quick(bound time.Duration, f func() time.Duration) (took time.Duration, ok bool) {
	for range 20 {
		if took = f(); took < bound {
			return took, true
		}
	}
	return took, false
}

func (s *server) images() []*o3v1.ImageInfo {
	s.t.Helper()
	r, err := s.om.ListImages(s.t.Context(), &o3v1.ListImagesRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Images
}

// noise commits n keys of 60 KiB each to a new bucket, which do not compress.
func (s *server) noise(n int) {
	s.t.Helper()
	s.bucket("noise", "OBJECT_STORE")
	random := rand.NewChaCha8([32]byte{1})
	for i := range n {
		data := make([]byte, 60<<10)
		_, _ = random.Read(data) // it never fails
		if err := s.commit("noise", fmt.Sprint(i), data); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestKeyImageRetention(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.snapshot.retention.count"
	for _, c := range []struct {
		set  []string
		keep int
	}{{nil, 3}, {[]string{key + "=1"}, 1}, {[]string{key + "=5"}, 5}} {
		s := start(t, settings{set: c.set})
		s.bucket("photos", "")
		var made []string
		for i := range 6 {
			if err := s.commit("photos", fmt.Sprint(i), []byte("1")); err != nil {
				t.Fatal(err)
			}
			made = append(made, s.image().Id)
		}
		got := s.images()
		if len(got) != c.keep || got[0].Id != made[5] || got[c.keep-1].Id != made[6-c.keep] {
			t.Errorf("%v: of %v there are %v", c.set, made, got)
		}
		if n := s.metric("o3_images_removed_total"); int(n) != 6-c.keep {
			t.Errorf("%v: %v removed", c.set, n)
		}
	}
}

func TestKeyImageInterval(t *testing.T) {
	t.Parallel()
	often, never := start(t, settings{set: []string{"ozone.om.snapshot.interval=100ms"}}), start(t, settings{})
	wait(t, "an image is made by itself", func() bool { return often.metric("o3_images_created_total") >= 1 })
	before := often.metric("o3_images_created_total")
	often.bucket("photos", "")
	wait(t, "another one is made", func() bool { return often.metric("o3_images_created_total") > before })
	if n := never.metric("o3_images"); n != 0 {
		t.Errorf("%v images without an interval", n)
	}
	daily := start(t, settings{set: []string{"ozone.om.snapshot.interval=1d"}})
	wait(t, "the first image is made at once", func() bool { return daily.metric("o3_images_created_total") == 1 })
	daily.bucket("photos", "")
	late := time.Now().Add(500 * time.Millisecond)
	wait(t, "time passes", func() bool { return time.Now().After(late) })
	if n := daily.metric("o3_images_created_total"); n != 1 {
		t.Errorf("%v images with an interval of a day", n)
	}
}

func TestKeyImageRate(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.snapshot.checksum.bytes.per.second"
	took := func(rate string) time.Duration {
		s := start(t, settings{set: []string{key + "=" + rate}})
		s.noise(40) // 2.4 MB
		if i := s.image(); i.Bytes < 2_000_000 {
			t.Fatalf("%v", i)
		}
		if n := s.metric("o3_image_hashed_bytes_total"); n < 2_000_000 {
			t.Errorf("%v bytes were read", n)
		}
		seconds := s.metric("o3_image_create_seconds_sum")
		quiet(t, s)
		return time.Duration(seconds * float64(time.Second))
	}
	const bound = 1500 * time.Millisecond
	if d := took("1MB"); d < bound {
		t.Errorf("at 1 MB a second it took %v", d)
	}
	if d, ok := quick(bound, func() time.Duration { return took("0") }); !ok {
		t.Errorf("without a bound it took %v", d)
	}
}
