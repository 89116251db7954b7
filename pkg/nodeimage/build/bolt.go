package build

import (
	"bytes"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// normalise returns a copy of a containerd database that depends on its
// content alone: times become the epoch, and pages are written in order. One
// key is written in each transaction, because within one the order in which
// buckets get their pages is random.
func normalise(path string) ([]byte, error) {
	src, err := bolt.Open(path, 0o644, &bolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	copyPath := path + ".copy"
	defer os.Remove(copyPath)
	dst, err := bolt.Open(copyPath, 0o644, &bolt.Options{NoSync: true, PageSize: 4096, FreelistType: bolt.FreelistArrayType})
	if err != nil {
		return nil, err
	}
	err = src.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return copyBucket(dst, [][]byte{name}, b)
		})
	})
	if closeErr := dst.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("normalise %s: %w", path, err)
	}
	return os.ReadFile(copyPath)
}

func copyBucket(dst *bolt.DB, at [][]byte, b *bolt.Bucket) error {
	err := update(dst, at, func(to *bolt.Bucket) error { return to.SetSequence(b.Sequence()) })
	if err != nil {
		return err
	}
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			deeper := append(at[:len(at):len(at)], k)
			return copyBucket(dst, deeper, b.Bucket(k))
		}
		value, err := timeless(k, v)
		if err != nil {
			return err
		}
		return update(dst, at, func(to *bolt.Bucket) error { return to.Put(k, value) })
	})
}

// update opens (or makes) the bucket at a path in a transaction of its own.
func update(db *bolt.DB, at [][]byte, fn func(*bolt.Bucket) error) error {
	return db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(at[0])
		for _, name := range at[1:] {
			if err != nil {
				return err
			}
			b, err = b.CreateBucketIfNotExists(name)
		}
		if err != nil {
			return err
		}
		return fn(b)
	})
}

// timeless replaces the value of containerd's time keys.
func timeless(key, value []byte) ([]byte, error) {
	if bytes.Equal(key, []byte("createdat")) || bytes.Equal(key, []byte("updatedat")) {
		return epoch.MarshalBinary()
	}
	return value, nil
}
