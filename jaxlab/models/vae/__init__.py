"""What any VAE needs."""
