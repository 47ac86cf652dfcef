"""Medical image anomaly detection from healthy and unannotated mixed scans (A2B-GAN)."""
