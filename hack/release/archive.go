package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
)

// pack makes the archive that people of an operating system expect, with
// everything in one folder. All files are as old as the commit and nobody's.
func (o *options) pack(goos, base string, files []file) (file, error) {
	var out bytes.Buffer
	if goos == "windows" {
		err := o.zip(&out, base, files)
		return file{base + ".zip", out.Bytes(), 0o644}, err
	}
	err := o.tarGzip(&out, base, files)
	return file{base + ".tar.gz", out.Bytes(), 0o644}, err
}

func (o *options) tarGzip(w io.Writer, base string, files []file) error {
	compressed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: base + "/" + f.name, Mode: f.mode, Size: int64(len(f.data)),
			ModTime: o.made, Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.data); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}

func (o *options) zip(w io.Writer, base string, files []file) error {
	archive := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: base + "/" + f.name, Method: zip.Deflate, Modified: o.made}
		entry, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.data); err != nil {
			return err
		}
	}
	return archive.Close()
}
