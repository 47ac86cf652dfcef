"""DICOM files: elements, pixels, and volumes in one file or in a folder of slices."""
